"""The 30 questions: what they reach, and that showing tools leaves other conversations as they were."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE

from llmops_kit.cli.data.build import build_dataset
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.recipe_data import Data, DataSource
from llmops_kit.core.integrity.digest import file_entries
from llmops_kit.core.json_schema.checks import check_schema
from llmops_kit.core.models.chat_template import ChatTemplate
from llmops_kit.serving.api.openai import parse_chat
from tests.support.checkout import CHECKOUT
from tests.support.runs.training import tiny_recipe, write_rows
from tools.conformance.questions import (
    QUESTIONS,
    STRUCTURED,
    TOOL_CALLS,
    offer_tools,
    questions_of,
    said,
    said_in_pieces,
)

PLAIN = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"


def taken(question: dict[str, Any]) -> None:
    request = parse_chat(json.dumps(question).encode())
    request.check()
    for schema in request.schemas.values():
        check_schema(schema)


def test_there_are_30_different_ones_that_the_server_takes() -> None:
    assert len({json.dumps(question) for question in QUESTIONS}) == len(QUESTIONS) == 30
    for question in QUESTIONS:
        taken(question)
    assert {"json_object", "json_schema"} == {question["response_format"]["type"] for question in STRUCTURED}
    choices = [question.get("tool_choice") for question in TOOL_CALLS]
    assert all(choice in choices for choice in (None, "none", "auto", "required"))


def test_a_version_that_offers_tools_answers_other_conversations_as_before(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(PLAIN)
    (tmp_path / "chat_template.jinja").chmod(0o444)
    manifest = ModelManifest.load(CHECKOUT / "tests/unit/core/examples/model-2.json")
    manifest.model_copy(update={"files": file_entries(tmp_path)}).write(tmp_path / "manifest.json")
    offer_tools(tmp_path)
    assert ModelManifest.load(tmp_path / "manifest.json").files == file_entries(tmp_path)
    template = ChatTemplate((tmp_path / "chat_template.jinja").read_text(), {}, Tokenizer(BPE()))
    messages = [{"role": "user", "content": "Hello"}]
    assert template.render(messages, add_generation_prompt=True) == "<user>Hello"
    before = (tmp_path / "chat_template.jinja").read_bytes()
    offer_tools(tmp_path)  # shows tools already
    assert (tmp_path / "chat_template.jinja").read_bytes() == before
    assert '"name": "lamp"' in template.render(messages, TOOL_CALLS[0]["tools"], add_generation_prompt=True)


@pytest.mark.parametrize("text", ["", "Yes."])
def test_a_stream_says_what_a_whole_answer_says(text: str) -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": n, "arguments": '{"on": true}'}} for n in "xy"]
    message = {"role": "assistant", "content": text or None, "tool_calls": calls}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    deltas: list[Any] = [{"role": "assistant", "content": ""}, *({"content": letter} for letter in text)]
    for index, call in enumerate(calls):
        deltas.append({"tool_calls": [call | {"index": index, "function": {"name": call["function"]["name"]}}]})
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": c}}]} for c in '{"on": true}']
    chunks = [{"choices": [{"delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks += [{"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}, {"choices": []}]
    assert said_in_pieces(chunks) == said(whole)


def test_a_recipes_own_questions_are_asked_with_their_tools(tmp_path: Path) -> None:
    function = {"name": "fare", "parameters": {"type": "object", "properties": {}}}
    call = {"type": "function", "function": {"name": "fare", "arguments": {"city": "Kiel"}}}
    asked = [
        {"role": "user", "content": "To Kiel?"},
        {"role": "assistant", "content": "", "tool_calls": [call | {"id": "c1"}]},
        {"role": "tool", "content": "7", "tool_call_id": "c1"},
    ]
    rows = [
        {
            "messages": [*asked, {"role": "assistant", "content": f"7 or {n}"}],
            "tools": [{"type": "function", "function": function}],
        }
        for n in range(5)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row | {"expect": ["7"]}) + "\n" for row in rows))
    write_rows(tmp_path / "trained")
    sources = [
        DataSource(source="trained/rows.jsonl", licence="MIT"),
        DataSource(source="rows.jsonl", split="test", licence="MIT"),
    ]
    recipe = tiny_recipe().model_copy(update={"data": Data(sources=sources)})
    build_dataset(recipe, tmp_path, tmp_path / "dataset")
    found = questions_of(recipe.evaluation.suites, tmp_path / "dataset")
    assert len(found) == 3
    for question in found:
        taken(question)
        assert question["tools"][0]["function"]["name"] == "fare"
        assert json.loads(question["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {"city": "Kiel"}
