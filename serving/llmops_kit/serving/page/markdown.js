// Markdown in answers: marked splits it into tokens, and this module makes elements of them. HTML in a text stays text,
// links lead to http and https only, and pictures are links: nothing is loaded.

import { lexer } from "./vendor/marked.js";
import { copyButton, make } from "./elements.js";

const DEEPEST = 16; // what is nested deeper is shown as it was written
const LONGEST_BLOCK = 20_000; // characters; a longer one is not parsed again at each frame, but shown as it was written
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };

// A text that grows. Blocks that can't change any more are kept; only the last one is parsed and made again.
export class MarkdownView {
  #element;
  #final = 0; // characters in blocks that stay
  #open = []; // {token, node} of the blocks behind them

  constructor(element) {
    this.#element = element;
  }

  show(text) {
    const rest = text.replace(/\r\n?/g, "\n").slice(this.#final);
    const tokens = blocksOf(rest).filter((token) => token.raw);
    const blocks = tokens.filter((token) => token.type !== "space");
    blocks.forEach((token, i) => this.#place(token, i));
    for (const { node } of this.#open.splice(blocks.length)) node.remove();
    const last = tokens.lastIndexOf(blocks.at(-1));
    const kept = tokens.slice(0, Math.max(last, 0)).map((token) => token.raw).join("");
    if (!kept || !rest.startsWith(kept)) return;
    this.#final += kept.length;
    this.#open.splice(0, blocks.length - 1);
  }

  #place(token, i) {
    const there = this.#open[i];
    if (there && there.token.type === token.type && there.token.raw === token.raw) return;
    if (there && there.token.type === "code" && token.type === "code" && there.token.lang === token.lang) {
      there.node.querySelector("code").textContent = token.text; // its button stays, with the focus that it may have
      there.token = token;
      return;
    }
    const node = blockOf(token, 0);
    if (there) there.node.replaceWith(node);
    else this.#element.append(node);
    this.#open[i] = { token, node };
  }
}

function blocksOf(text) {
  const plain = [{ type: "plain", raw: text, text }];
  try {
    const tokens = lexer(text, { gfm: true, breaks: true });
    return tokens.some((token) => token.raw.length > LONGEST_BLOCK && token.type !== "code") ? plain : tokens;
  } catch {
    return plain; // nested deeper than the stack
  }
}

function blockOf(token, depth) {
  if (depth > DEEPEST) return make("p", { text: token.raw });
  switch (token.type) {
    case "code": return codeBlock(token);
    case "heading": return withInline(make(`h${Math.min(token.depth + 2, 6)}`), token.tokens, depth);
    case "hr": return make("hr");
    case "blockquote": return withBlocks(make("blockquote"), token.tokens, depth);
    case "list": return listOf(token, depth);
    case "table": return tableOf(token, depth);
    case "paragraph": return withInline(make("p"), token.tokens, depth);
    default: return make("p", { className: "as-written", text: token.raw.trimEnd() });
  }
}

function codeBlock(token) {
  const code = make("code", { text: token.text });
  const language = (token.lang || "").split(/\s/)[0];
  const bar = make("div", { className: "code-bar" }, make("span", { text: language }), copyButton(() => code.textContent));
  const label = language ? `Code, ${language}` : "Code"; // it may scroll sideways, by keyboard too
  return make("div", { className: "code" }, bar, make("pre", { tabindex: "0", role: "region", "aria-label": label }, code));
}

function listOf(token, depth) {
  const list = make(token.ordered ? "ol" : "ul");
  if (token.ordered && token.start !== 1) list.start = token.start;
  list.append(...token.items.map((item) => withBlocks(make("li"), item.tokens, depth)));
  return list;
}

function tableOf(token, depth) {
  const row = (cells, tag) => make("tr", {}, ...cells.map((cell) =>
    withInline(make(tag, { className: cell.align ? `to-${cell.align}` : "" }), cell.tokens, depth)));
  const table = make("table", {}, make("thead", {}, row(token.header, "th")),
    make("tbody", {}, ...token.rows.map((cells) => row(cells, "td"))));
  return make("div", { className: "wide", tabindex: "0", role: "region", "aria-label": "Table" }, table);
}

function withBlocks(element, tokens, depth) {
  for (const token of tokens) {
    if (token.type === "space") continue;
    if (token.type === "text" && token.tokens) withInline(element, token.tokens, depth); // of a list without gaps
    else if (token.type === "checkbox") element.append(inlineOf(token, depth));
    else element.append(blockOf(token, depth + 1));
  }
  return element;
}

function withInline(element, tokens, depth) {
  element.append(...tokens.map((token) => inlineOf(token, depth + 1)));
  return element;
}

function inlineOf(token, depth) {
  if (depth > DEEPEST) return token.raw;
  switch (token.type) {
    case "text": return token.tokens ? withInline(make("span"), token.tokens, depth) : decoded(token.text);
    case "escape": return token.text;
    case "strong": return withInline(make("strong"), token.tokens, depth);
    case "em": return withInline(make("em"), token.tokens, depth);
    case "del": return withInline(make("del"), token.tokens, depth);
    case "codespan": return make("code", { text: token.text });
    case "br": return make("br");
    case "checkbox": return token.checked ? "☑ " : "☐ ";
    case "link": return linkOf(token, (link) => withInline(link, token.tokens, depth));
    case "image": return linkOf(token, (link) => { link.append(`${token.text || "picture"} ↗`); return link; });
    default: return token.raw; // HTML among it
  }
}

function linkOf(token, fill) {
  let address;
  try {
    address = new URL(token.href);
  } catch {
    return token.raw;
  }
  if (!["http:", "https:"].includes(address.protocol)) return token.raw;
  const safe = { href: address.href, rel: "noopener noreferrer nofollow", target: "_blank", title: address.href };
  return fill(make("a", safe));
}

function decoded(text) {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|(\w{1,6}));/gi, (whole, decimal, hex, name) => {
    if (name) return ENTITIES[name] ?? whole;
    const point = decimal ? Number(decimal) : parseInt(hex, 16);
    return point > 0 && point <= 0x10ffff ? String.fromCodePoint(point) : whole;
  });
}
