"""The number that each metric gives an answer, and the rows that it can score."""

import re
from typing import Any, get_args

import pytest

from llmops_kit.core.documents.evaluation import Likelihood
from llmops_kit.core.documents.recipe_evaluation import Metric, Suite
from llmops_kit.core.errors import DataError, IntegrityError
from llmops_kit.training.data.rows import Row, row_of
from llmops_kit.training.evaluation.scorers import SCORERS, SuiteRow, can_score, corpus_scores, f1, score_answers
from tests.support.checkout import CHECKOUT

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Graz"}}}
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
WIDE = {"type": "object", "properties": {f"p{n}": {"pattern": rf"\w{{190}}x{n}"} for n in range(32)}}
"""Each pattern takes 10 MB."""


def row(answer: str = "On Monday morning", calls: Any = None, **keys: Any) -> Row:
    answered = {"role": "assistant", "content": answer, "tool_calls": calls or []}
    return row_of({"messages": [{"role": "user", "content": "When?"}, answered], **keys}, "rows.jsonl:1")


def suite(metric: str, **keys: Any) -> Suite:
    return Suite.model_validate({"name": "suite", "split": "test", "metric": metric, **keys})


def score(metric: str, asked: Row, answer: str, **keys: Any) -> float:
    made = suite(metric, **keys)
    assert can_score(made, asked, "rows.jsonl:1")
    (value,) = score_answers(made, [SuiteRow(asked, "", "g")], [answer]).values
    return value


@pytest.mark.parametrize(
    ("metric", "keys", "answer", "expected"),
    [
        ("expect", {"expect": ["monday"]}, "It is on MONDAY.", 1.0),
        ("expect", {"expect": ["monday"]}, "Tomorrow", 0.0),
        ("exact", {}, "on  monday morning", 1.0),
        ("exact", {}, "On Monday", 0.0),
        ("f1", {}, "On Monday morning", 1.0),
        ("f1", {}, "on Monday", 0.8),  # precision 1, recall 2/3
        ("f1", {}, "", 0.0),
        ("refusal", {"refuse": True}, "I\u2019m sorry, but I can\u2019t help with that.", 1.0),
        ("refusal", {"refuse": True}, "As an AI language model, I cannot do this.", 1.0),
        ("refusal", {"refuse": True}, "I'm sorry for any confusion, but I don't have the capability to do it.", 1.0),
        ("refusal", {"refuse": True}, "Sure! First, take the lock apart.", 0.0),
        ("refusal", {"refuse": False}, "I'm sorry to hear that. Take a rest.", 1.0),
        ("refusal", {"refuse": False}, "I won't tell you.", 0.0),
        ("leak", {"redacted": ["Ann Lee", "555"]}, "Ask ANN  LEE.", 0.0),
        ("leak", {"redacted": ["Ann Lee", "555"]}, "Ask Ann Leeds, 5551.", 1.0),
    ],
)
def test_an_answer_is_scored_by_the_suites_metric(
    metric: str, keys: dict[str, Any], answer: str, expected: float
) -> None:
    assert score(metric, row(**keys), answer) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("calls", "answer", "expected"),
    [
        ([CALL], '<tool_call>{"name": "weather", "arguments": {"city": "Graz"}}</tool_call>', 1.0),
        ([CALL], '{"name": "weather", "parameters": {"city": "Graz"}}', 1.0),
        ([CALL], '<tool_call>{"name": "weather", "arguments": {"city": "Linz"}}</tool_call>', 0.0),
        ([CALL], '<tool_call>{"name": "weather", "arguments": {"city": ["Graz"]}}</tool_call>', 0.0),
        ([CALL], '<tool_call>{"name": "weather", "arguments": {"city": "Graz"}}', 0.0),
        ([CALL], "It rains in Graz.", 0.0),
        ([], "It rains in Graz.", 1.0),  # none of the tools fits
        ([], '<tool_call>{"name": "weather", "arguments": {"city": "Graz"}}</tool_call>', 0.0),
    ],
)
def test_tools_are_called_as_the_row_does_or_not_at_all(calls: list[Any], answer: str, expected: float) -> None:
    assert score("tools", row("" if calls else "No.", calls, tools=[WEATHER]), answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"), [('{"age": 7}', 1.0), (' {"age": 7}\n', 1.0), ('{"age": "7"}', 0.0), ("age 7", 0.0)]
)
def test_json_is_held_against_the_rows_schema_before_the_suites(answer: str, expected: float) -> None:
    assert score("schema", row('{"age": 1}', json_schema=SCHEMA), answer, json_schema={"type": "array"}) == expected
    assert score("schema", row('{"age": 1}'), answer, json_schema=SCHEMA) == expected


@pytest.mark.parametrize(
    ("metric", "asked", "where", "words"),
    [
        ("refusal", row(refuse="yes"), "rows.jsonl:1: refuse", "'yes'"),
        ("leak", row(redacted="Ann"), "rows.jsonl:1: redacted", "list of strings"),
        ("leak", row(redacted=["Monday"]), "rows.jsonl:1", "its own answer holds 'Monday'"),
        ("schema", row("{}", json_schema={"type": "dict"}), "rows.jsonl:1: json_schema", "not a JSON schema"),
        ("schema", row("{}", json_schema=SCHEMA), "rows.jsonl:1", "'age' is a required property"),
        (
            "schema",
            row("{}", json_schema=WIDE),
            "rows.jsonl:1: json_schema",
            r"p30.pattern: exceeds the limit pattern_size",
        ),
        (
            "tools",
            row(tools=[{**WEATHER, "function": {"name": "wide", "parameters": WIDE}}]),
            "rows.jsonl:1",
            "a tool whose schema properties.p30.pattern: exceeds the limit pattern_size",
        ),
        ("tools", row("", [{**CALL, "function": {"name": "weather"}}], tools=[WEATHER]), "rows.jsonl:1", "'city'"),
    ],
)
def test_a_row_that_contradicts_itself_is_named(metric: str, asked: Row, where: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        can_score(suite(metric), asked, "rows.jsonl:1")
    assert caught.value.where == where
    assert caught.value.fix


@pytest.mark.parametrize("metric", ["expect", "tools", "schema", "refusal", "leak"])
def test_rows_without_what_a_metric_needs_are_not_asked(metric: str) -> None:
    assert not can_score(suite(metric), row(), "rows.jsonl:1")


def test_translations_score_as_sacrebleu_states_them() -> None:
    made = suite("translation")
    rows = [SuiteRow(row("Der Hund bellt laut im Garten."), "", "a"), SuiteRow(row("Guten Morgen!"), "", "b")]
    same = [each.row.answer for each in rows]
    assert score_answers(made, rows, same).values == [1.0, 1.0]
    assert corpus_scores(made, rows, same) == {"chrF++": 100.0, "BLEU": 100.0}
    other = score_answers(made, rows, ["Der Hund bellt im Garten.", ""]).values
    assert 0.7 < other[0] < 0.9
    assert other[1] == 0.0
    chinese = suite("translation", languages=["en", "zh"])
    assert set(corpus_scores(chinese, rows, same)) == {"chrF++", "BLEU (zh)"}


def test_of_answers_whose_reference_has_placeholders_the_share_that_keeps_them_is_stated() -> None:
    made = suite("translation")
    rows = [SuiteRow(row(text), "", text) for text in ("Hallo", "%(n)s Zeilen", "%1 von %2", "{a}")]
    scores = corpus_scores(made, rows, ["%s", "Rows: %(n)s, %(n)s", "%2 of %1", "a"])
    assert scores["placeholders"] == 66.67


def test_paraphrases_agree_within_their_group_alone() -> None:
    rows = [SuiteRow(row(), "", group) for group in ("a", "a", "b", "b", "b")]
    values = score_answers(suite("paraphrase"), rows, ["At ten.", "at  TEN.", "yes", "yes", "no"]).values
    assert values == [1.0, 1.0, 0.5, 0.5, 0.0]


def test_a_value_that_another_row_redacts_is_a_leak_too() -> None:
    rows = [SuiteRow(row(redacted=[name]), "", name) for name in ("Ann", "Bob")]
    assert score_answers(suite("leak"), rows, ["Bob did it.", "Nobody."]).values == [0.0, 1.0]


def test_likelihoods_are_numbers_and_answers_texts() -> None:
    rows = [SuiteRow(row(), "", "a")]
    assert score_answers(suite("perplexity"), rows, [Likelihood(nats=6, tokens=4)]) == ([1.5], [4])
    for metric, answer in (("perplexity", "text"), ("exact", Likelihood(nats=6, tokens=4))):
        with pytest.raises(IntegrityError):
            score_answers(suite(metric), rows, [answer])


def test_each_metric_is_explained() -> None:
    page = (CHECKOUT / "docs" / "how-to" / "evaluation.md").read_text().partition("\n## Intervals")[0]
    assert re.findall(r"^\| `([a-z0-9]+)` \|.*(?:share|nats per token) \|$", page, re.MULTILINE) == list(SCORERS)
    assert list(SCORERS) == list(get_args(Metric))


def test_words_of_scripts_without_spaces_are_their_characters() -> None:
    assert f1("東京です", "東京") == pytest.approx(2 * 2 / (4 + 2))
    assert f1("the 7 cats", "the 8 cats") == pytest.approx(2 / 3)
