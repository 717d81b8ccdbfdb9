"""The assistant's own data, its template and its settings; what comes from a package is looked at in tests/emulated."""

import json
from pathlib import Path

import pytest

from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.models.tool_call_stream import HERMES, form_of
from llmops_kit.core.words import found
from llmops_kit.data_pipeline.readers.bfcl import NO_CALL
from llmops_kit.training.data.rows import Row, read_rows
from tests.support.checkout import CHECKOUT

FOLDER = CHECKOUT / "recipes/assistant"
FILES = ("trained.jsonl", "held-out.jsonl")


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Row]]:
    return {name: [row for _, row in read_rows(FOLDER / name)] for name in FILES}


def of_category(rows: list[Row], category: str) -> list[Row]:
    return [row for row in rows if row.metadata["category"] == category]


def offered(rows: list[Row]) -> set[str]:
    return {tool.function.name for row in rows for tool in row.tools}


def test_no_tool_of_one_file_is_in_the_other(rows: dict[str, list[Row]]) -> None:
    trained, held_out = (offered(rows[name]) for name in FILES)
    assert not trained & held_out
    assert len(held_out) >= 30, "groups of a gate"
    page = Recipe.load(CHECKOUT / "recipes/assistant.yaml").page
    assert {tool["function"]["name"] for tool in page.tools} <= held_out


def test_a_row_is_question_call_result_and_an_answer_that_only_the_result_tells(rows: dict[str, list[Row]]) -> None:
    for row in (row for name in FILES for row in of_category(rows[name], "answer")):
        assert [turn.role for turn in row.messages] == ["user", "assistant", "tool", "assistant"]
        question, called, result, answer = row.messages
        assert row.metadata == {"function": called.tool_calls[0].function.name, "category": "answer"}
        assert len(row.tools) == 2
        assert isinstance(json.loads(result.content), dict)
        assert row.expect
        for expected in row.expect:
            assert found(answer.content, [expected])
            assert not found(question.content, [expected]), question.content
        [tool] = [tool.function for tool in row.tools if tool.function.name == row.metadata["function"]]
        assert set(called.tool_calls[0].function.arguments) == set(tool.parameters["required"])


def test_each_question_with_a_tool_is_asked_once_more_with_two_that_do_not_fit(rows: dict[str, list[Row]]) -> None:
    fitting = {
        row.messages[0].content: row.metadata["function"] for row in of_category(rows["trained.jsonl"], "answer")
    }
    unfit = of_category(rows["trained.jsonl"], "irrelevance")
    assert [row.messages[0].content for row in unfit] == list(fitting)
    for row in unfit:
        assert row.messages[-1].content == NO_CALL
        assert len(offered([row])) == 2
        assert fitting[row.messages[0].content] not in offered([row])


def test_plain_questions_have_no_tools_and_held_out_ones_an_answer_to_find(rows: dict[str, list[Row]]) -> None:
    plain = {name: of_category(rows[name], "plain") for name in FILES}
    assert not offered(plain["trained.jsonl"] + plain["held-out.jsonl"])
    assert len(plain["held-out.jsonl"]) >= 30, "groups of a gate"
    for row in plain["held-out.jsonl"]:
        assert found(row.messages[-1].content, row.expect)
        assert not found(row.messages[0].content, row.expect)


def test_no_question_stands_twice(rows: dict[str, list[Row]]) -> None:
    asked = [
        row.messages[0].content.lower()
        for name in FILES
        for row in rows[name]
        if row.metadata["category"] != "irrelevance"
    ]
    assert len(set(asked)) == len(asked)


def test_the_template_has_the_model_write_calls_that_the_servers_read() -> None:
    assert form_of(Path(FOLDER, "chat_template.jinja").read_text()) is HERMES
