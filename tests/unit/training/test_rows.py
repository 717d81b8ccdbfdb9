"""A dirty line is refused with its file, line, field and the fix."""

import json
from pathlib import Path

import pytest

from contract.errors import DataError
from training.rows import found, read_rows

QUESTION = {"role": "user", "content": "Which port?"}
ANSWER = {"role": "assistant", "content": "Port 8080."}


def line(**changes: object) -> bytes:
    row = {"messages": [QUESTION, ANSWER], "fact": "f01", "expect": ["8080"], **changes}
    return json.dumps({k: v for k, v in row.items() if v is not None}).encode()


def write(tmp_path: Path, *lines: bytes) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


@pytest.mark.parametrize(
    ("dirty", "field", "what"),
    [
        (b'{"messages": [', "", "is not JSON"),
        (b'["a"]', "", "is not a JSON object but list"),
        (b'{"messages": "\xe9"}', "", "is not UTF-8 at byte 14"),
        (line(colour="red"), ": colour", "unknown key"),
        (line(messages=None), ": messages", "is missing"),
        (line(messages=[QUESTION, {**ANSWER, "role": "bot"}]), ": messages.1.role", "'assistant'"),
        (line(messages=[QUESTION, {**ANSWER, "content": 5}]), ": messages.1.content", "must be text (found 5)"),
        (line(messages=[QUESTION, {**ANSWER, "content": " \n"}]), ": messages.1", "has no content"),
        (line(messages=[QUESTION, {**ANSWER, "content": "8080\x00"}]), ": messages.1", "U+0000"),
        (line(messages=[QUESTION, {**ANSWER, "content": "8080 \ufffd"}]), ": messages.1", "U+FFFD"),
        (line(messages=[QUESTION, {**ANSWER, "content": "8080<|im_end|>"}]), ": messages.1", "<|im_end|>"),
        (line(messages=[ANSWER, QUESTION]), ": messages", "its roles are assistant, user"),
        (line(messages=[QUESTION, ANSWER, QUESTION]), ": messages", "its roles are user, assistant, user"),
        (line(messages=[QUESTION, QUESTION, ANSWER]), ": messages", "its roles are user, user, assistant"),
        (line(fact=None), "", "has one of fact and expect only"),
        (line(expect=None), "", "has one of fact and expect only"),
        (line(expect=["8081"]), ": expect", "its own answer does not hold"),
        (line(expect=["8080|"]), ": expect", "empty alternative"),
    ],
)
def test_dirty_line_is_refused_with_its_place(tmp_path: Path, dirty: bytes, field: str, what: str) -> None:
    path = write(tmp_path, line(), b"", dirty)
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    assert caught.value.where == f"{path}:3{field}"
    assert what in caught.value.what
    assert caught.value.fix


def test_good_lines_are_numbered_and_normalised(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be short."}
    decomposed = {**ANSWER, "content": "  Cafe\u0301,\r\nport 8080.  "}
    path = write(tmp_path, b"", line(messages=[system, QUESTION, decomposed]), line(fact=None, expect=None))
    (first, row), (second, plain) = read_rows(path)
    assert (first, second) == (2, 3)
    assert row.answer == "Caf\u00e9,\nport 8080."
    assert [m["role"] for m in row.prompt] == ["system", "user"]
    assert (plain.fact, plain.expect) == ("", [])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        list(read_rows(tmp_path / "none.jsonl"))


@pytest.mark.parametrize(
    ("answer", "expect", "right"),
    [
        ("Run  `LLMOPS\nrollback` now.", ["llmops rollback"], True),
        ("It is 8 GB.", ["8 gb|8 gigabytes"], True),
        ("It is 8 gigabytes.", ["8 gb|8 gigabytes"], True),
        ("It is 9 GB.", ["8 gb|8 gigabytes"], False),
        ("Port 8080.", ["8080", "port"], True),
        ("8080.", ["8080", "port"], False),
        ("", ["x"], False),
    ],
)
def test_fact_is_found_when_every_expected_string_stands_in_the_answer(
    answer: str, expect: list[str], right: bool
) -> None:
    assert found(answer, expect) is right
