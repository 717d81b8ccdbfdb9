// The conversation: each question with the answer of every column. One column usually, two side by side to compare.

import { button, copyButton, make, note } from "./elements.js";
import { MarkdownView } from "./markdown.js";
import { KeyRefusal, Refusal, stream } from "./server.js";
import { CallsView, growCalls, isWhole } from "./tools.js";

// One variant's side of the conversation, with a history of its own.
class Column {
  messages = [];
  cell = null; // where its answers to the last question stand
  running = null; // AbortController of the answer that is being written
  calls = null; // calls of its last answer that wait for results

  constructor(variant, label) {
    this.variant = variant; // the router's name; empty: whoever answers
    this.label = label; // empty where it stands alone
  }

  // Forgets what had no answer: a question whose answer failed, or calls without results.
  dropUnanswered() {
    while (this.messages.length && !isAnswer(this.messages.at(-1))) this.messages.pop();
  }
}

function isAnswer(message) {
  return message.role === "assistant" && !message.tool_calls;
}

export class Conversation {
  #log;
  #scroller;
  #columns = [new Column("", "")];
  #tools;
  #events;

  // `tools()`: the list to send; `events.changed()`: who runs or waits has changed; `events.keyRefused()`.
  constructor(log, scroller, tools, events) {
    this.#log = log;
    this.#scroller = scroller;
    this.#tools = tools;
    this.#events = events;
  }

  get running() {
    return this.#columns.some((column) => column.running);
  }

  get waiting() {
    return this.#columns.some((column) => column.calls);
  }

  get empty() {
    return !this.#log.firstChild;
  }

  // Begins a new conversation; `sides`: [{id, label}] of the variants to compare, none for the one that answers.
  reset(sides = []) {
    this.stop();
    this.#columns = sides.length ? sides.map(({ id, label }) => new Column(id, label)) : [new Column("", "")];
    this.#log.replaceChildren();
  }

  stop() {
    for (const column of this.#columns) if (column.running) column.running.abort();
  }

  async ask(text) {
    const question = make("article", { className: "message user", "aria-label": "You" },
      make("div", { className: "text", text }));
    const cells = this.#columns.map((column) => {
      column.dropUnanswered();
      column.messages.push({ role: "user", content: text });
      column.cell = make("div", { className: "side" });
      if (column.label) {
        column.cell.setAttribute("role", "group");
        column.cell.setAttribute("aria-label", column.label);
        column.cell.append(make("p", { className: "side-name", text: column.label }));
      }
      return column.cell;
    });
    this.#log.append(make("div", { className: "turn" }, question,
      make("div", { className: `answers sides-${cells.length}` }, ...cells)));
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    await Promise.all(this.#columns.map((column) => this.#answer(column)));
  }

  async #answer(column) {
    const answer = new Answer(column.label);
    const abort = (column.running = new AbortController());
    column.calls = null;
    column.cell.append(answer.element);
    this.#events.changed();
    const tools = this.#tools();
    const request = { messages: column.messages, ...(tools.length ? { tools } : {}) };
    try {
      await stream(request, column.variant, abort.signal, (...event) => answer.take(event, this.#follow));
    } catch (e) {
      if (abort.signal.aborted) answer.stopped = true;
      else answer.error = e instanceof Refusal ? e.message : "The connection to the server broke.";
      if (e instanceof KeyRefusal) this.#events.keyRefused();
    }
    answer.end();
    if (column.running !== abort || !answer.element.isConnected) return; // a new conversation was begun meanwhile
    column.running = null;
    this.#follow(() => this.#close(column, answer));
    this.#events.changed();
  }

  #close(column, answer) {
    const calls = answer.error || answer.stopped ? [] : answer.calls.filter(isWhole);
    const message = answer.message(calls);
    if (message) column.messages.push(message);
    else if (answer.stopped) column.messages.pop();
    answer.addFoot();
    if (answer.error) answer.element.append(this.#failure(column, answer, Boolean(message)));
    if (!calls.length) return;
    column.calls = calls;
    answer.callsView.askForResults(calls, (results) => {
      column.messages.push(...results);
      this.#answer(column);
    });
  }

  #failure(column, answer, kept) {
    const again = button("Try again", () => {
      if (column.running) return;
      if (kept) column.messages.pop();
      answer.element.remove();
      this.#answer(column);
    });
    return make("p", { className: "error", role: "alert", text: answer.error }, again);
  }

  // Makes a change, and stays at the end if the reader is there.
  #follow = (change) => {
    const s = this.#scroller;
    const atEnd = s.scrollHeight - s.scrollTop - s.clientHeight < 60;
    change();
    if (atEnd) s.scrollTop = s.scrollHeight;
  };
}

// One answer as it grows, and its article.
class Answer {
  text = "";
  calls = [];
  stopped = false;
  error = "";
  callsView = new CallsView();
  #body = make("div", { className: "text" });
  #markdown = new MarkdownView(this.#body);
  #begun = performance.now();
  #first = 0;
  #last = 0;
  #tokens = 0;
  #finish = "";
  #drawing = 0; // a timer, after which what came until then is shown
  #cost = 0; // milliseconds of the last time

  constructor(label) {
    this.label = label;
    const name = label ? `Model ${label}` : "Model";
    this.element = make("article", { className: "message assistant writing", "aria-label": name, "aria-busy": "true" },
      this.#body, this.callsView.element);
  }

  take([delta, choice, usage], follow) {
    if (choice.finish_reason) this.#finish = choice.finish_reason;
    if (usage) this.#tokens = usage.completion_tokens;
    if (!delta.content && !delta.tool_calls) return;
    this.#last = performance.now();
    this.#first ||= this.#last;
    if (!usage) this.#tokens += 1; // until the server says; a stopped answer never hears it
    this.text += delta.content || "";
    growCalls(this.calls, delta.tool_calls || []);
    // At most a fifth of the time goes into showing, however long a block becomes.
    this.#drawing ||= setTimeout(() => follow(() => this.#draw()), Math.max(16, 4 * this.#cost));
  }

  end() {
    clearTimeout(this.#drawing);
    this.#draw();
    this.element.classList.remove("writing");
    this.element.removeAttribute("aria-busy");
  }

  // The message that the next request repeats; null: there was no answer.
  message(calls) {
    if (calls.length) return { role: "assistant", content: this.text || null, tool_calls: calls };
    if (this.text || !(this.stopped || this.error)) return { role: "assistant", content: this.text };
    return null;
  }

  addFoot() {
    const seconds = (this.#last - this.#first) / 1000;
    const facts = [];
    if (this.#first) facts.push(`first token after ${Math.round(this.#first - this.#begun)} ms`);
    if (this.#tokens) facts.push(`${this.#tokens} ${this.#tokens === 1 ? "token" : "tokens"}`);
    if (this.#tokens > 1 && seconds > 0) facts.push(`${((this.#tokens - 1) / seconds).toFixed(1)} tokens/s`);
    if (this.stopped) facts.push(this.#first ? "stopped" : "stopped before the first word");
    if (this.#finish === "length") facts.push("cut at the length limit");
    if (this.calls.some((call) => !isWhole(call))) facts.push("a call is incomplete");
    if (!this.#first && !this.stopped && !this.error) facts.push("The model had nothing to say.");
    if (!facts.length) return;
    const foot = make("div", { className: "under" }, note(facts.join(" · ")));
    if (this.text) foot.append(copyButton(() => this.text));
    this.element.append(foot);
  }

  #draw() {
    const begun = performance.now();
    this.#drawing = 0;
    this.#markdown.show(this.text);
    this.callsView.show(this.calls);
    this.#cost = performance.now() - begun;
  }
}
