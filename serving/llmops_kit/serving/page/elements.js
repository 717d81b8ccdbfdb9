// Elements made one by one and filled by textContent: nothing that a model writes is ever parsed as HTML.

export function make(tag, { className = "", text = "", ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function button(text, act, className = "link") {
  const element = make("button", { type: "button", className, text });
  element.addEventListener("click", act);
  return element;
}

export function note(text) {
  return make("span", { className: "quiet", text });
}

// A button that copies what `read` returns; nothing where the browser gives no clipboard (http to another machine).
export function copyButton(read) {
  if (!navigator.clipboard) return "";
  const element = button("Copy", async () => {
    await navigator.clipboard.writeText(read());
    element.textContent = "Copied";
    setTimeout(() => { element.textContent = "Copy"; }, 1500);
  });
  return element;
}
