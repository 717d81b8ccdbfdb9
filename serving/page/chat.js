"use strict";
// The chat page. What a model writes is shown by showMarkdown (markdown.js) and by textContent, and never parsed as HTML.

const byId = (id) => document.getElementById(id);
const page = {
  model: byId("model"), facts: byId("facts"), reset: byId("reset"), scroller: byId("scroller"), welcome: byId("welcome"),
  log: byId("log"), keyForm: byId("key-form"), key: byId("key"), keyWhy: byId("key-why"), notice: byId("notice"),
  examples: byId("examples"), composer: byId("composer"), prompt: byId("prompt"), send: byId("send"), stop: byId("stop"), changeKey: byId("change-key"),
};
const KEY = "llmops-key";

let messages = []; // what the next request sends
let running = null; // AbortController of the answer that is being written
let known = false; // the model's name was read

function takeKeyFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!given) return;
  sessionStorage.setItem(KEY, given);
  history.replaceState(null, "", location.pathname + location.search); // not into history, not over a shoulder
}

function ask(path, options = {}) {
  const headers = { "Content-Type": "application/json" };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  return fetch(path, { ...options, headers, cache: "no-store" });
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
  if (answer.status === 401) return askForKey(sessionStorage.getItem(KEY) ? "The server did not take this key." : "");
  if (!answer.ok) {
    say("The model is starting. This page goes on by itself…");
    return again();
  }
  const model = (await answer.json()).data[0];
  page.model.textContent = model.id;
  const about = model.metadata || {};
  const facts = [about.sha256 && `version ${about.sha256.slice(0, 12)}`, `${about.engine} ${about.precision}`];
  page.facts.replaceChildren(...facts.filter(Boolean).map((fact) => {
    const span = document.createElement("span");
    span.textContent = fact;
    return span;
  }));
  page.examples.replaceChildren(...(about.examples || []).map((question) => button(question, () => askExample(question))));
  document.title = `Chat with ${model.id}`;
  known = true;
  page.keyForm.hidden = true;
  say("");
  refresh();
  page.prompt.focus();
}

function again() {
  setTimeout(connect, 1000);
}

function say(text) {
  page.notice.textContent = text;
  page.notice.hidden = !text;
}

function askForKey(why) {
  sessionStorage.removeItem(KEY);
  known = false;
  page.keyWhy.textContent =
    `${why} It is kept in this tab until you close it, and sent to this server only.`.trim();
  page.keyForm.hidden = false;
  page.key.value = "";
  page.key.focus();
  refresh();
}

// --- the conversation

function askExample(question) {
  page.prompt.value = question;
  send();
}

function add(role, text) {
  page.welcome.hidden = true;
  const message = document.createElement("article");
  message.className = `message ${role}`;
  message.setAttribute("aria-label", role === "user" ? "You" : "Model");
  const body = document.createElement("div");
  body.className = "text";
  body.textContent = text;
  message.append(body);
  page.log.append(message);
  page.scroller.scrollTop = page.scroller.scrollHeight;
  return message;
}

function follow(change) {
  const s = page.scroller;
  const atEnd = s.scrollHeight - s.scrollTop - s.clientHeight < 60;
  change();
  if (atEnd) s.scrollTop = s.scrollHeight;
}

async function send() {
  const text = page.prompt.value.trim();
  if (!text || running || !known) return;
  page.prompt.value = "";
  fit();
  messages.push({ role: "user", content: text });
  add("user", text);
  await answerLast();
}

async function answerLast() {
  const article = add("assistant", "");
  article.classList.add("writing");
  article.setAttribute("aria-busy", "true");
  const body = article.firstChild;
  const abort = (running = new AbortController());
  const seen = { first: 0, last: 0, tokens: 0, stopped: false, error: "" };
  let text = "";
  let drawing = 0; // the next frame of the screen, in which what came until then is shown
  const draw = () => { drawing = 0; follow(() => showMarkdown(body, text)); };
  refresh();
  try {
    await stream(abort.signal, seen, (piece) => {
      text += piece;
      drawing = drawing || requestAnimationFrame(draw);
    });
  } catch (e) {
    if (abort.signal.aborted) seen.stopped = true;
    else seen.error = e instanceof Refusal ? e.message : "The connection to the server broke.";
  }
  cancelAnimationFrame(drawing);
  draw();
  article.classList.remove("writing");
  article.removeAttribute("aria-busy");
  if (running !== abort) return; // a new conversation was begun meanwhile
  running = null;
  follow(() => close(article, text, seen));
  refresh();
  if (page.keyForm.hidden) page.prompt.focus();
}

function close(article, text, seen) {
  if (text) {
    messages.push({ role: "assistant", content: text });
    article.append(under(text, seen));
  } else if (seen.stopped) {
    messages.pop();
    article.append(note("Stopped before the first word."));
  } else if (!seen.error) {
    messages.push({ role: "assistant", content: "" });
    article.append(note("The model had nothing to say."));
  }
  if (seen.error) article.append(failure(article, text, seen.error));
}

function under(text, seen) {
  const line = document.createElement("div");
  line.className = "under";
  const seconds = (seen.last - seen.first) / 1000;
  const facts = [];
  if (seen.tokens) facts.push(`${seen.tokens} ${seen.tokens === 1 ? "token" : "tokens"}`);
  if (seen.tokens > 1 && seconds > 0) facts.push(`${((seen.tokens - 1) / seconds).toFixed(1)} tokens/s`);
  if (seen.stopped) facts.push("stopped");
  if (seen.finish === "length") facts.push("cut at the length limit");
  line.append(note(facts.join(" · ")));
  if (navigator.clipboard) line.append(copyButton(text));
  return line;
}

function note(text) {
  const span = document.createElement("span");
  span.className = "quiet";
  span.textContent = text;
  return span;
}

function button(label, act) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "link";
  element.textContent = label;
  element.addEventListener("click", act);
  return element;
}

function copyButton(text) {
  const element = button("Copy", async () => {
    await navigator.clipboard.writeText(text);
    element.textContent = "Copied";
    setTimeout(() => { element.textContent = "Copy"; }, 1500);
  });
  return element;
}

function failure(article, text, error) {
  const line = document.createElement("p");
  line.className = "error";
  line.textContent = error;
  line.append(button("Try again", () => {
    if (running) return;
    if (text) messages.pop();
    article.remove();
    answerLast();
  }));
  return line;
}

// --- one answer

class Refusal extends Error {}

async function stream(signal, seen, show) {
  const body = JSON.stringify({ messages, stream: true, stream_options: { include_usage: true } });
  const answer = await ask("v1/chat/completions", { method: "POST", body, signal });
  if (!answer.ok) throw new Refusal(await refusal(answer));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Refusal("The answer broke off.");
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      if (frame === "data: [DONE]") return;
      if (frame.startsWith("data: ")) take(JSON.parse(frame.slice(6)), seen, show);
    }
  }
}

function take(event, seen, show) {
  if (event.error) throw new Refusal(`The answer was cut: ${event.error.message}.`);
  if (event.usage) seen.tokens = event.usage.completion_tokens;
  const choice = event.choices && event.choices[0];
  if (!choice) return;
  if (choice.finish_reason) seen.finish = choice.finish_reason;
  if (!choice.delta.content) return;
  seen.last = performance.now();
  if (!seen.first) seen.first = seen.last;
  if (!event.usage) seen.tokens += 1; // until the server says; a stopped answer never hears it
  show(choice.delta.content);
}

async function refusal(answer) {
  let error = {};
  try {
    error = (await answer.json()).error || {};
  } catch { /* not this server's words: a proxy's page */ }
  if (answer.status === 401) {
    askForKey("The server did not take this key.");
    return "The key was not accepted.";
  }
  if (answer.status === 429) return "Too many are asking at once. Wait a moment.";
  if (answer.status === 503) return "The server is starting or stopping. Wait a moment.";
  if (error.code === "context_length_exceeded") return "The conversation is longer than the model can read. Begin a new one.";
  return error.message ? `The server refused: ${error.message}.` : `The server answered with status ${answer.status}.`;
}

// --- controls

function stop() {
  if (running) running.abort();
}

function reset() {
  stop();
  running = null;
  messages = [];
  page.log.replaceChildren();
  page.welcome.hidden = false;
  refresh();
  page.prompt.focus();
}

function refresh() {
  page.send.hidden = Boolean(running);
  page.stop.hidden = !running;
  page.send.disabled = !known || !page.prompt.value.trim();
  page.reset.disabled = !messages.length;
}

function fit() {
  if (CSS.supports("field-sizing", "content")) return;
  page.prompt.style.height = "auto";
  page.prompt.style.height = `${page.prompt.scrollHeight}px`;
}

page.composer.addEventListener("submit", (event) => { event.preventDefault(); send(); });
page.prompt.addEventListener("input", () => { fit(); refresh(); });
page.prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running) stop();
});
page.stop.addEventListener("click", () => { stop(); page.prompt.focus(); });
page.reset.addEventListener("click", reset);
page.changeKey.addEventListener("click", () => askForKey(""));
page.keyForm.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, page.key.value.trim());
  connect();
});

takeKeyFromAddress();
window.addEventListener("hashchange", () => { takeKeyFromAddress(); connect(); });
page.prompt.focus();
connect();
