// Requests to the server that this page came from, with the key that is kept in this tab.

const KEY = "llmops-key";
const VARIANT = "X-Llmops-Variant"; // of the kit's router: which of an endpoint's variants answers
const ALL = "*"; // the router lists them

export class Refusal extends Error {}
export class KeyRefusal extends Refusal {}

export function hasKey() {
  return Boolean(sessionStorage.getItem(KEY));
}

export function keepKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

// `variant`: the router's name of one; empty: its weights decide.
export function ask(path, variant = "", options = {}) {
  const headers = { "Content-Type": "application/json" };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (variant) headers[VARIANT] = variant;
  return fetch(path, { ...options, headers, cache: "no-store" });
}

// The two variants with the most traffic, [{id, model}]; none where no router is, or it has one only.
export async function variantsToCompare() {
  try {
    const answer = await ask("v1/models", ALL);
    if (!answer.ok) return [];
    const listed = (await answer.json()).data.filter(({ object }) => object === "variant"); // a server lists its model
    const named = listed.sort((a, b) => b.weight - a.weight).slice(0, 2);
    if (named.length < 2) return [];
    return await Promise.all(named.map(async ({ id }) => {
      const described = await ask("v1/models", id);
      if (!described.ok) throw new Refusal("it is not ready");
      return { id, model: (await described.json()).data[0] };
    }));
  } catch {
    return [];
  }
}

// Streams an answer; `take(delta, choice, usage)` is told each event. Ends with the answer, or throws.
export async function stream(request, variant, signal, take) {
  const body = JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } });
  const answer = await ask("v1/chat/completions", variant, { method: "POST", body, signal });
  if (!answer.ok) throw await refusal(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Refusal("The answer broke off.");
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      if (frame === "data: [DONE]") return;
      if (!frame.startsWith("data: ")) continue;
      const event = JSON.parse(frame.slice(6));
      if (event.error) throw new Refusal(`The answer was cut: ${event.error.message}.`);
      const choice = (event.choices && event.choices[0]) || {};
      take(choice.delta || {}, choice, event.usage);
    }
  }
}

async function refusal(answer) {
  let error = {};
  try {
    error = (await answer.json()).error || {};
  } catch { /* not this server's words: a proxy's page */ }
  if (answer.status === 401) return new KeyRefusal("The key was not accepted.");
  if (answer.status === 429) return new Refusal("Too many are asking at once. Wait a moment.");
  if (answer.status === 503) return new Refusal("The server is starting or stopping. Wait a moment.");
  if (error.code === "context_length_exceeded") {
    return new Refusal("The conversation is longer than the model can read. Begin a new one.");
  }
  const words = error.message ? `The server refused: ${error.message}.` : "";
  return new Refusal(words || `The server answered with status ${answer.status}.`);
}
