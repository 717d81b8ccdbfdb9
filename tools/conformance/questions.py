"""The questions of a conformance test, each a chat request: 30 of its own (conversations, answers in JSON, and tools),
and some of the recipe's suites.

The 30 cover every part of a request that changes the tokens: roles, scripts, length, stop strings, JSON mode, schemas,
tools with each choice, and a conversation with calls in it.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmops_kit.cli.judging.asking import request_messages
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.recipe_evaluation import LIKELIHOOD, Suite
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import MANIFEST
from llmops_kit.core.models.chat_template import reads_tools
from llmops_kit.core.models.tool_call_stream import form_of
from llmops_kit.training.evaluation.scoring import load_suite

Question = dict[str, Any]
"""A chat request without the model's name."""

TEMPLATE = "chat_template.jinja"
_TOOLS_SHOWN = """\
{% if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Call as <tool_call>{"name": ..., "arguments": ...}</tool_call>.<|im_end|>
{% endif %}"""
_CALLED = {"id": "call_1", "type": "function", "function": {"name": "lamp", "arguments": '{"on": true}'}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _asked(*contents: str, system: str = "", **fields: Any) -> Question:
    """Returns a greedy request with messages of user and assistant in turns."""
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "assistant" if i % 2 else "user", "content": c} for i, c in enumerate(contents)]
    return {"messages": messages, "temperature": 0, "max_tokens": 16} | fields


def _by_schema(content: str, **properties: Any) -> Question:
    schema = {"name": "answer", "schema": _object(**properties), "strict": True}
    return _asked(content, response_format={"type": "json_schema", "json_schema": schema})


_LAMP = {"name": "lamp", "description": "Switches the lamp.", "parameters": _object(on={"type": "boolean"})}
_TIMER = {
    "name": "timer",
    "description": "Rings later.",
    "parameters": _object(minutes={"type": "integer"}, label={"enum": ["tea", "egg"]}),
}
_PLAIN = {"name": "stop", "description": "Stops everything.", "parameters": _object()}
_TOOLS = [{"type": "function", "function": each} for each in (_LAMP, _TIMER, _PLAIN)]


def _with_tools(content: str, choice: Any = None, **fields: Any) -> Question:
    chosen = {"type": "function", "function": {"name": choice["name"]}} if isinstance(choice, dict) else choice
    fields |= {"tool_choice": chosen} if chosen else {}
    return _asked(content, **{"tools": _TOOLS, "max_tokens": 48} | fields)


TEXTS: tuple[Question, ...] = (
    _asked("Hello"),
    _asked("What is the capital of France?"),
    _asked("Grüße aus 東京 — ¿qué tal? 🙂"),
    _asked("Why does the sky look blue in the day?", system="Answer in one sentence."),
    _asked("", max_tokens=8),
    _asked("My name is Ada.", "Hello Ada.", "What is my name?"),
    _asked("Count to three.", "1, 2", "Go on.", "3", "And then?", system="You count."),
    _asked("def add(a, b):\n    return a + b\n\nWhat does it do?"),
    _asked("word " * 60 + "\nHow many words?", max_tokens=24),
    _asked('Write <b>bold</b> & "quoted" text.', stop=["\n\n"]),
    _asked("List three uses of a signed manifest.", stop=["2", "zz"], max_tokens=24),
    _asked("Once upon a time", max_tokens=1),
)
"""Questions that every model can be asked."""

STRUCTURED: tuple[Question, ...] = (
    _asked("Describe a lamp in JSON.", response_format={"type": "json_object"}),
    _asked("Is it sunny?", system="Answer in JSON.", response_format={"type": "json_object"}, max_tokens=24),
    _by_schema("Is it day?", day={"type": "boolean"}),
    _by_schema("How warm is it?", degrees={"type": "integer"}, unit={"enum": ["C", "F"]}),
    _by_schema("Who wrote it?", answer={"type": "string"}, sure={"type": "boolean"}),
    _by_schema("Name two of them.", names={"type": "array", "items": {"type": "string"}, "maxItems": 2}),
    _by_schema("Where is it?", place=_object(city={"type": "string", "maxLength": 9}, known={"type": "boolean"})),
    _by_schema("Which one?", one={"anyOf": [{"type": "null"}, {"const": "this"}]}),
    _by_schema("What code?", code={"type": "string", "pattern": "^[A-Z]{2}[0-9]{3}$"}),
)
"""Questions whose answers are constrained to JSON or to a schema."""

TOOL_CALLS: tuple[Question, ...] = (
    _with_tools("Hello", max_tokens=16),
    _with_tools("Hello", "none", max_tokens=16),
    _with_tools("Turn the lamp on.", "auto", max_tokens=24),
    _with_tools("Turn the lamp on.", "required", parallel_tool_calls=False),
    _with_tools("Turn the lamp on.", _LAMP),
    _with_tools("Wake me for the tea.", _TIMER),
    _with_tools("Stop it all.", _PLAIN),
    _with_tools("Turn it on, and time the egg.", "required", max_tokens=64),
    _with_tools("", max_tokens=16) | {"messages": [
        {"role": "user", "content": "Turn the lamp on."},
        {"role": "assistant", "content": "", "tool_calls": [_CALLED]},
        {"role": "tool", "tool_call_id": "call_1", "content": "It is on."},
    ]},
)  # fmt: skip
"""Questions with tools, which may, must not or must be called."""

QUESTIONS = (*TEXTS, *STRUCTURED, *TOOL_CALLS)
_OF_A_SUITE = 3


def questions_of(suites: Iterable[Suite], dataset: Path) -> list[Question]:
    """Returns questions of a recipe's suites: the first rows of each, with the tools that they offer.

    Args:
        suites: those that measure likelihoods have no questions.
        dataset: the folder of the recipe's dataset version.
    """
    found: list[Question] = []
    for suite in suites:
        for asked in load_suite(suite, dataset)[:_OF_A_SUITE] if suite.metric != LIKELIHOOD else ():
            question = {"messages": request_messages(asked.row.prompt), "temperature": 0}
            tools = [tool.to_dict() for tool in asked.row.tools]
            found.append(question | {"max_tokens": min(suite.max_tokens, 48)} | ({"tools": tools} if tools else {}))
    return found


def questions_for(template: str) -> tuple[Question, ...]:
    """Returns those of the 30 that a version can be asked: without tools if servers refuse them for its chat
    template.
    """
    return QUESTIONS if reads_tools(template) and form_of(template) else (*TEXTS, *STRUCTURED)


def offer_tools(version: Path) -> None:
    """Adds tools to a version's chat template, unless it has them; conversations without tools stay the same.

    The version's manifest lists the template as it is then; whoever stores the version signs it.

    Raises:
        DocumentError: the folder is not a version.
    """
    manifest = ModelManifest.load(version / MANIFEST)
    own = (version / TEMPLATE).read_bytes()
    if reads_tools(own.decode()):
        return
    content = _TOOLS_SHOWN.encode() + own
    (version / TEMPLATE).unlink()  # a store's files may be read-only
    (version / TEMPLATE).write_bytes(content)
    entry = manifest.files[TEMPLATE].model_copy(update={"sha256": sha256_bytes(content), "size": len(content)})
    manifest.model_copy(update={"files": {**manifest.files, TEMPLATE: entry}}).write(version / MANIFEST)


def said(answer: Mapping[str, Any]) -> str:
    """Returns an answer as text: its content, its calls (without their ids, which are random) and its finish reason."""
    choice = answer["choices"][0]
    message = choice["message"]
    calls = [_call(each["function"]) for each in message.get("tool_calls") or ()]
    return _written(message.get("content") or "", calls, choice["finish_reason"])


def said_in_pieces(chunks: Iterable[Mapping[str, Any]]) -> str:
    """Returns the same text for a stream's chunks."""
    text, finish = "", ""
    calls: list[list[str]] = []
    for choice in (chunk["choices"][0] for chunk in chunks if chunk.get("choices")):
        text += choice["delta"].get("content") or ""
        finish = choice.get("finish_reason") or finish
        for piece in choice["delta"].get("tool_calls") or ():
            if piece["index"] == len(calls):
                calls.append(["", ""])
            name, arguments = _call(piece["function"])
            calls[piece["index"]][0] += name
            calls[piece["index"]][1] += arguments
    return _written(text, calls, finish)


def _call(function: Mapping[str, Any]) -> list[str]:
    return [function.get("name") or "", function.get("arguments") or ""]


def _written(text: str, calls: list[list[str]], finish: str) -> str:
    return json.dumps([text, *calls, finish], ensure_ascii=False)
