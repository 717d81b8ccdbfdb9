"use strict";
// Markdown in answers: code, emphasis, headings and lists. Elements are made one by one and filled by textContent, so
// that nothing a model writes becomes part of the page; links and pictures stay the text that they are.

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const HEADING = /^ {0,3}#{1,6} +(\S.*)$/;
const ITEM = /^ {0,3}(?:[-*+]|(\d{1,9})[.)]) +(\S.*)$/;
// Each form is at most 1,000 characters long: a search stays linear whatever a model writes.
const INLINE = /`([^`\n]{1,1000})`|\*\*(?=\S)([^*\n]{1,1000})\*\*|(?<![\w*])\*(?=\S)([^*\n]{1,1000})\*(?![\w*])/g;

// Shows a text in an element; blocks that did not change stay, with what a reader selected in them.
function showMarkdown(element, text) {
  const blocks = blocksOf(text.split("\n"));
  blocks.forEach((block, i) => {
    const source = JSON.stringify(block);
    const there = element.children[i];
    if (there && there.source === source) return;
    const made = elementOf(block);
    made.source = source;
    if (there) there.replaceWith(made);
    else element.append(made);
  });
  while (element.children.length > blocks.length) element.lastElementChild.remove();
}

// Lines as blocks: {kind: "code" | "heading" | "list" | "text", lines, start}; `start` is an ordered list's first number.
function blocksOf(lines) {
  const blocks = [];
  let open = null;
  const begin = (kind, rest = {}) => {
    open = { kind, lines: [], ...rest };
    blocks.push(open);
  };
  for (const line of lines) {
    if (open && open.kind === "code") {
      if (line.trim().startsWith(open.fence) && !line.trim().slice(open.fence.length).trim()) open = null;
      else open.lines.push(line);
      continue;
    }
    const fence = FENCE.exec(line);
    const heading = HEADING.exec(line);
    const item = ITEM.exec(line);
    if (fence) begin("code", { fence: fence[1] });
    else if (heading) {
      begin("heading");
      open.lines.push(heading[1]);
      open = null;
    } else if (item) {
      const start = item[1] === undefined ? null : Number(item[1]);
      if (!open || open.kind !== "list" || (open.start === null) !== (start === null)) begin("list", { start });
      open.lines.push(item[2]);
    } else if (!line.trim()) open = null;
    else if (open && open.kind === "list" && /^\s/.test(line)) open.lines.push(open.lines.pop() + "\n" + line.trim());
    else {
      if (!open || open.kind !== "text") begin("text");
      open.lines.push(line);
    }
  }
  return blocks;
}

function elementOf({ kind, lines, start }) {
  if (kind === "code") {
    const code = document.createElement("pre");
    code.append(filled("code", lines.join("\n")));
    code.tabIndex = 0; // it may scroll sideways, by keyboard too
    return code;
  }
  if (kind === "list") {
    const list = document.createElement(start === null ? "ul" : "ol");
    if (start !== null) list.start = start;
    list.append(...lines.map((line) => withInline(document.createElement("li"), line)));
    return list;
  }
  const paragraph = document.createElement("p");
  if (kind === "heading") paragraph.className = "heading";
  return withInline(paragraph, lines.join("\n"));
}

function withInline(element, text) {
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    element.append(text.slice(end, match.index));
    end = match.index + match[0].length;
    if (match[1] !== undefined) element.append(filled("code", match[1]));
    else if (match[2] !== undefined) element.append(withInline(document.createElement("strong"), match[2]));
    else element.append(withInline(document.createElement("em"), match[3]));
  }
  element.append(text.slice(end));
  return element;
}

function filled(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}
