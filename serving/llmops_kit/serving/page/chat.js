// The chat page: what the server is, the controls, and the conversation between them.

import { Conversation } from "./conversation.js";
import { button, make } from "./elements.js";
import { ask, hasKey, keepKey, variantsToCompare } from "./server.js";
import { ToolsDialog } from "./tools.js";

const byId = (id) => document.getElementById(id);
const page = {
  model: byId("model"), facts: byId("facts"), reset: byId("reset"), compare: byId("compare"), scroller: byId("scroller"),
  welcome: byId("welcome"), log: byId("log"), keyForm: byId("key-form"), key: byId("key"), keyWhy: byId("key-why"),
  notice: byId("notice"), examples: byId("examples"), composer: byId("composer"), prompt: byId("prompt"),
  send: byId("send"), stop: byId("stop"), changeKey: byId("change-key"), tools: byId("tools"),
};

let known = false; // the model's name was read
let tools = [];
let sides = []; // [{id, label}] of variants that can be compared
let comparing = false;

const conversation = new Conversation(page.log, page.scroller, () => tools, {
  changed: () => {
    refresh();
    if (!conversation.running && !conversation.waiting && page.keyForm.hidden) page.prompt.focus();
  },
  keyRefused: () => askForKey("The server did not take this key."),
});
const toolsDialog = new ToolsDialog(byId("tools-dialog"), (list) => { tools = list; refresh(); });

// The address may carry #key=KEY and &compare: neither is kept in the history, nor seen over a shoulder.
function takeAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  comparing = given.has("compare") || comparing;
  if (!given.get("key")) return;
  keepKey(given.get("key"));
  history.replaceState(null, "", location.pathname + location.search);
}

// --- the server's state

async function connect() {
  let answer;
  try {
    answer = await ask("v1/models");
  } catch {
    say("The server can't be reached. Trying again…");
    return again();
  }
  if (answer.status === 401) return askForKey(hasKey() ? "The server did not take this key." : "");
  if (!answer.ok) {
    say("The model is starting. This page continues by itself…");
    return again();
  }
  describe((await answer.json()).data[0]);
  const variants = await variantsToCompare();
  sides = variants.map(({ id, model }) => ({ id, label: `${model.id} · ${shortened(model.metadata)}` }));
  compare(comparing && sides.length > 0);
  known = true;
  page.keyForm.hidden = true;
  say("");
  refresh();
  page.prompt.focus();
}

function describe(model) {
  const about = model.metadata || {};
  page.model.textContent = model.id;
  document.title = `Chat with ${model.id}`;
  const facts = [about.sha256 && `version ${shortened(about)}`, about.engine && `${about.engine} ${about.precision}`];
  page.facts.replaceChildren(...facts.filter(Boolean).map((text) => make("span", { text })));
  page.examples.replaceChildren(...(about.examples || []).map((question) => button(question, () => send(question))));
  page.tools.hidden = about.takes_tools === false;
  if (!tools.length) tools = about.tools || [];
}

function shortened(about) {
  return ((about || {}).sha256 || "").slice(0, 12);
}

function again() {
  setTimeout(connect, 1000);
}

function say(text) {
  page.notice.textContent = text;
  page.notice.hidden = !text;
}

function askForKey(why) {
  keepKey("");
  known = false;
  page.keyWhy.textContent =
    `${why} It is kept in this tab until you close it, and sent to this server only.`.trim();
  page.keyForm.hidden = false;
  page.key.value = "";
  page.key.focus();
  refresh();
}

// --- controls

function send(text) {
  if (!text || conversation.running || conversation.waiting || !known) return;
  page.welcome.hidden = true;
  conversation.ask(text);
}

function sendPrompt() {
  const text = page.prompt.value.trim();
  if (page.send.disabled || !text) return;
  page.prompt.value = "";
  fit();
  send(text);
}

function compare(on) {
  comparing = on;
  document.body.classList.toggle("comparing", on);
  page.compare.setAttribute("aria-pressed", String(on));
  begin();
}

function begin() {
  conversation.reset(comparing ? sides : []);
  page.welcome.hidden = false;
  refresh();
  page.prompt.focus();
}

function refresh() {
  page.send.hidden = conversation.running;
  page.stop.hidden = !conversation.running;
  page.send.disabled = !known || conversation.waiting || !page.prompt.value.trim();
  page.prompt.placeholder = conversation.waiting ? "Enter the result of the call first" : "Message";
  page.reset.disabled = conversation.empty;
  page.compare.hidden = !sides.length;
  page.tools.textContent = tools.length ? `Tools (${tools.length})` : "Tools";
}

function fit() {
  if (CSS.supports("field-sizing", "content")) return;
  page.prompt.style.height = "auto";
  page.prompt.style.height = `${page.prompt.scrollHeight}px`;
}

page.composer.addEventListener("submit", (event) => { event.preventDefault(); sendPrompt(); });
page.prompt.addEventListener("input", () => { fit(); refresh(); });
page.prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  sendPrompt();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && conversation.running) conversation.stop();
});
page.stop.addEventListener("click", () => { conversation.stop(); page.prompt.focus(); });
page.reset.addEventListener("click", begin);
page.compare.addEventListener("click", () => compare(!comparing));
page.tools.addEventListener("click", () => toolsDialog.open(tools));
page.changeKey.addEventListener("click", () => askForKey(""));
page.keyForm.addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey(page.key.value.trim());
  connect();
});

takeAddress();
window.addEventListener("hashchange", () => { takeAddress(); connect(); });
page.prompt.focus();
connect();
