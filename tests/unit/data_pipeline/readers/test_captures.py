"""Recorded traffic becomes conversations."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.data_pipeline.readers.reader import read
from tests.support.checkout import CHECKOUT

EXAMPLE = json.loads((CHECKOUT / "tests/unit/core/examples/capture-1.json").read_text())
QUESTION = EXAMPLE["request"]["messages"]


def read_capture(path: Path, *captures: Any) -> list[Any]:
    path.write_text("".join(f"{json.dumps(each)}\n" for each in captures))
    return list(read(path, name="f"))


def test_a_correction_takes_the_answers_place(tmp_path: Path) -> None:
    (row,) = read_capture(tmp_path / "a.capture.jsonl", EXAMPLE)
    assert row.dropped == ""
    assert row.row == {
        "prompt": QUESTION,
        "completion": [{"role": "assistant", "content": "You have 30 days from delivery."}],
        "answer": EXAMPLE["answer"],
        "endpoint": "chat",
        "score": -0.5,
        "label": "incomplete",
        "time": "2026-11-28T10:00:00+00:00",
        "version": EXAMPLE["version"],
    }


def test_without_feedback_the_answer_stays(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    answer = {"role": "assistant", "tool_calls": [{"id": "1"}]}
    plain = {**EXAMPLE, "answer": answer, "request": {"messages": QUESTION, "tools": tools}}
    del plain["feedback"]
    (row,) = read_capture(tmp_path / "a.capture.jsonl", plain)
    assert row.dropped == ""
    assert (row.row["prompt"], row.row["completion"]) == (QUESTION, [answer])
    assert row.row["tools"] == tools
    assert not {"score", "label", "answer"} & row.row.keys()


@pytest.mark.parametrize(
    ("feedback", "dropped"),
    [
        ({}, ""),
        ({"score": 1}, ""),
        ({"score": 0.1, "label": "wrong-tone"}, ""),
        ({"score": -1}, "feedback: score of 0 or less, no correction"),
        ({"score": 0}, "feedback: score of 0 or less, no correction"),
        ({"score": -1, "correction": " "}, "feedback: score of 0 or less, no correction"),
        ({"label": "wrong-tone"}, "feedback: label without score, no correction"),
        ({"score": -1, "correction": "30 days."}, ""),
        ({"label": "wrong-tone", "correction": "30 days."}, ""),
        ({"correction": "30 days."}, ""),
    ],
)
def test_an_answer_that_feedback_speaks_against_is_dropped(
    tmp_path: Path, feedback: dict[str, Any], dropped: str
) -> None:
    (row,) = read_capture(tmp_path / "a.capture.jsonl", {**EXAMPLE, "feedback": feedback})
    assert (row.dropped, row.fault) == (dropped, None)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "capture/2"},
        {"version": "latest"},
        {"time": "2026-11-28T10:00:00"},
        {"feedback": {"score": 2}},
        {"request": {"messages": []}},
        {"more": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_line_of_another_form_is_a_fault(tmp_path: Path, change: dict[str, Any]) -> None:
    bad, good = read_capture(tmp_path / "a.capture.jsonl", EXAMPLE | change, EXAMPLE)
    assert (bad.where, bad.row) == ("f:1", None)
    assert bad.fault
    assert good.row
