// Tools: the list that the model may call, and a model's calls with a place for their results.

import { button, make, note } from "./elements.js";

// Reads a JSON list of tools, in OpenAI's form or as bare functions. Throws an Error in words.
export function parseTools(text) {
  if (!text.trim()) return [];
  let list;
  try {
    list = JSON.parse(text);
  } catch (e) {
    throw new Error(`This is no JSON: ${e.message}.`);
  }
  if (!Array.isArray(list)) throw new Error("Write a list: [{…}, {…}].");
  return list.map((tool, i) => {
    const given = (tool && tool.function) || tool;
    if (!given || typeof given.name !== "string" || !given.name) throw new Error(`Tool ${i + 1} has no name.`);
    return { type: "function", function: given };
  });
}

// Adds what an event says of calls to `calls`, by their index.
export function growCalls(calls, deltas) {
  for (const { index, id, function: said = {} } of deltas) {
    const call = (calls[index] ??= { id: "", type: "function", function: { name: "", arguments: "" } });
    if (id) call.id = id;
    call.function.name += said.name || "";
    call.function.arguments += said.arguments || "";
  }
}

// Whether a call came to its end: an answer that was stopped or cut may end within one.
export function isWhole(call) {
  try {
    const given = JSON.parse(call.function.arguments || "{}");
    return Boolean(call.function.name && given) && typeof given === "object" && !Array.isArray(given);
  } catch {
    return false;
  }
}

// An element that shows calls while they grow.
export class CallsView {
  element = make("div", { className: "calls" });

  show(calls) {
    calls.forEach((call, i) => {
      const there = this.element.children[i];
      const name = `Call of ${call.function.name}`;
      const shown = there || make("section", { className: "call" }, make("p", { className: "call-name" }),
        make("pre", { tabindex: "0", role: "region" }, make("code")));
      shown.setAttribute("aria-label", name);
      shown.querySelector("pre").setAttribute("aria-label", "Arguments");
      shown.firstChild.textContent = name;
      shown.querySelector("code").textContent = pretty(call.function.arguments);
      if (!there) this.element.append(shown);
    });
  }

  // Lets the reader enter the calls' results; `send` gets them as messages.
  askForResults(calls, send) {
    const fields = calls.map((call, i) => {
      const id = `result-${crypto.getRandomValues(new Uint32Array(1))[0]}-${i}`;
      const field = make("textarea", { id, rows: "2", spellcheck: "false" });
      this.element.children[i].append(make("label", { for: id, text: `Result of ${call.function.name}` }), field);
      return field;
    });
    const done = make("button", { type: "submit", className: "strong wide-button", text: "Send result" });
    if (calls.length > 1) done.textContent = "Send results";
    const form = make("form");
    this.element.replaceWith(form);
    form.append(this.element, done);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      done.remove();
      for (const field of fields) {
        field.previousSibling.replaceWith(note(field.previousSibling.textContent));
        field.replaceWith(make("pre", { className: "result", text: field.value }));
      }
      send(calls.map((call, i) => ({ role: "tool", tool_call_id: call.id, content: fields[i].value })));
    });
    fields[0].focus();
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // it still grows
  }
}

// The dialog in which the list of tools is edited; `changed` gets the new list.
export class ToolsDialog {
  #dialog;
  #field;
  #error;

  constructor(dialog, changed) {
    this.#dialog = dialog;
    this.#field = dialog.querySelector("textarea");
    this.#error = dialog.querySelector("[role=alert]");
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      try {
        changed(parseTools(this.#field.value));
        dialog.close();
      } catch (e) {
        this.#error.textContent = e.message;
        this.#field.focus();
      }
    });
    dialog.querySelector(".row").prepend(button("Cancel", () => dialog.close(), "plain"));
  }

  open(tools) {
    this.#error.textContent = "";
    this.#field.value = tools.length ? JSON.stringify(tools, null, 2) : "";
    this.#dialog.showModal();
  }
}
