"""Asks a server as programs do that know OpenAI's client, or LangChain's; runs in the environments of those clients.

`python asking_clients.py URL KEY` prints what came as JSON. OpenAI's client of either major version runs the same code.
"""

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

MODEL = "tiny@1"
HELLO: Any = [{"role": "user", "content": "Hello"}]
SWITCH = {"title": "switch", "description": "Turns it on.", "type": "object",
          "properties": {"on": {"type": "boolean"}}, "required": ["on"], "additionalProperties": False}  # fmt: skip


def ask_openai(url: str, key: str) -> dict[str, Any]:
    """Returns what OpenAI's client makes of each kind of answer."""
    from openai import BadRequestError, NotFoundError, OpenAI

    client = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
    asked: Any = {"model": MODEL, "messages": HELLO, "temperature": 0}
    tools: Any = [{"type": "function", "function": {"name": "switch", "parameters": SWITCH}}]
    form: Any = {"type": "json_schema", "json_schema": {"name": "switch", "schema": SWITCH}}
    chat = client.chat.completions.create(**asked, max_tokens=8)
    pieces = list(client.chat.completions.create(**asked, max_tokens=8, stream=True))
    called = client.chat.completions.create(**asked, tools=tools, tool_choice="required", parallel_tool_calls=False)
    held = client.chat.completions.create(**asked, response_format=form)
    response = client.responses.create(model=MODEL, input="Hello", temperature=0, max_output_tokens=8)
    with client.responses.stream(model=MODEL, input="Hello", temperature=0, max_output_tokens=8) as events:
        final = [event.type for event in events][-1]
    refused: dict[str, Any] = {}
    for kind, error, fields in (("overflow", BadRequestError, {"max_tokens": 10**6}),
                                ("model", NotFoundError, {"model": "other"})):  # fmt: skip
        try:
            client.chat.completions.create(**asked | fields)
        except error as e:
            refused[kind] = [e.code, e.param]
    call = (called.choices[0].message.tool_calls or [None])[0]
    return {
        "chat": chat.choices[0].message.content,
        "streamed": "".join(piece.choices[0].delta.content or "" for piece in pieces),
        "call": [call.function.name, json.loads(call.function.arguments)] if call and call.type == "function" else None,
        "held": json.loads(held.choices[0].message.content or ""),
        "response": [response.output_text, response.status, final],
        "models": [model.id for model in client.models.list()],
        "refused": refused,
    }


def ask_langchain(url: str, key: str) -> dict[str, Any]:
    """Returns what LangChain's chat model makes of each kind of answer."""
    from langchain_openai import ChatOpenAI  # pyright: ignore[reportMissingImports]

    def model(**options: Any) -> Any:
        return ChatOpenAI(base_url=f"{url}/v1", api_key=key, model=MODEL, temperature=0, max_retries=0, **options)

    short, long = model(max_tokens=8), model(max_tokens=400)
    called = long.bind_tools([SWITCH], tool_choice="switch", parallel_tool_calls=False).invoke("Hello")
    (call,) = called.tool_calls
    back = [("user", "Hello"), called, {"role": "tool", "tool_call_id": call["id"], "content": "done"}]
    return {
        "chat": short.invoke("Hello").content,
        "streamed": "".join(piece.text for piece in short.stream("Hello")),
        "call": [call["name"], call["args"]],
        "back": bool(short.bind_tools([SWITCH]).invoke(back).content),
        "held": [
            long.with_structured_output(SWITCH, method=method).invoke("Hello")
            for method in ("json_schema", "function_calling")
        ],
        "response": model(max_tokens=16, use_responses_api=True).invoke("Hello").text,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    found = {"version": _version("openai"), "openai": ask_openai(*sys.argv[1:])}
    if _version("langchain-openai"):
        found["langchain"] = ask_langchain(*sys.argv[1:])
    print(json.dumps(found))
