"""Questions and calls of the Berkeley Function Calling Leaderboard."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.errors import DataError
from llmops_kit.data_pipeline.readers.bfcl import NO_CALL
from llmops_kit.data_pipeline.readers.reader import DataFile, ReadRow, read_file
from llmops_kit.training.data.rows import row_of

FUNCTION = {
    "name": "drive.route",
    "description": "Finds a route.",
    "parameters": {
        "type": "dict",
        "properties": {
            "to": {"type": "string"},
            "speed": {"type": "float", "optional": True},
            "stops": {"type": "array", "items": {"type": "dict", "properties": {"at": {"type": "tuple"}}}},
            "type": {"type": "any"},
        },
        "required": ["to", "stops"],
    },
}


def question(number: int, *functions: dict[str, Any], turns: int = 1) -> dict[str, Any]:
    asked = [[{"role": "user", "content": f"Question {number}?"}]] * turns
    return {"id": f"q_{number}", "question": asked, "function": list(functions or [FUNCTION])}


def read(folder: Path, category: str, questions: list[Any], answers: list[Any] | None) -> list[ReadRow]:
    (folder / "possible_answer").mkdir()
    path = folder / f"BFCL_v4_{category}.json"
    path.write_text("".join(f"{json.dumps(each)}\n" for each in questions))
    if answers is not None:
        other = folder / "possible_answer" / path.name
        other.write_text("".join(f"{json.dumps(each)}\n" for each in answers))
        assert list(read_file(DataFile(other, "answers", form="bfcl"))) == []
    return list(read_file(DataFile(path, "questions", form="bfcl")))


def test_a_question_becomes_a_row_with_tools_and_the_first_right_call(tmp_path: Path) -> None:
    right = {"to": ["Oslo", "oslo"], "speed": ["", 80.5], "stops": [[{"at": [[1, 2], [3, 4]]}]], "type": [7]}
    answers = [
        {"id": "q_1", "ground_truth": [{"drive.route": right}, {"drive.route": {"to": ["", "B"], "stops": [[]]}}]}
    ]
    [(where, row, *left_out)] = read(tmp_path, "simple_python", [question(1)], answers)
    assert (where, left_out) == ("questions:1", [None, ""])
    assert row
    assert (row["id"], row["category"], row["function"]) == ("q_1", "simple_python", "drive.route")
    calls = [call["function"] for call in row["messages"][-1]["tool_calls"]]
    # What may be left out is, unless the schema requires it.
    first, second = {"to": "Oslo", "stops": [{"at": [1, 2]}], "type": 7}, {"to": "B", "stops": []}
    assert calls == [{"name": "drive.route", "arguments": each} for each in (first, second)]
    properties = row["tools"][0]["function"]["parameters"]["properties"]
    assert properties == {
        "to": {"type": "string"},
        "speed": {"type": "number"},
        "stops": {"type": "array", "items": {"type": "object", "properties": {"at": {"type": "array"}}}},
        "type": {},
    }


def test_a_question_of_irrelevance_is_answered_without_a_call(tmp_path: Path) -> None:
    [(_, row, *_)] = read(tmp_path, "irrelevance", [question(1)], None)
    assert row
    assert row["messages"][-1] == {"role": "assistant", "content": NO_CALL}
    assert row_of(row, "row").tools[0].function.name == "drive.route"


def test_what_cannot_be_converted_is_a_fault_and_the_next_row_is_read(tmp_path: Path) -> None:
    good = {"to": ["A"], "stops": [[]]}
    truth = {1: good, 2: good | {"to": [5]}, 4: good, 5: good}
    answers = [{"id": f"q_{number}", "ground_truth": [{"drive.route": right}]} for number, right in truth.items()]
    odd = FUNCTION | {"parameters": {"type": "dict", "properties": {"to": {"type": "HashMap"}}}}
    questions = [question(1, turns=2), question(2), question(3), question(4, odd), [], question(5)]
    rows = read(tmp_path, "live_simple", questions, answers)
    assert [bool(row.row) for row in rows] == [False] * 5 + [True]
    assert [row.fault.where for row in rows if row.fault] == [f"questions:{number}" for number in range(1, 6)]
    assert "does not fit its schema" in str(rows[1].fault)


def test_answers_that_were_not_collected_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"possible_answer/BFCL_v4_multiple.json") as caught:
        read(tmp_path, "multiple", [question(1)], None)
    assert "both" in caught.value.fix
