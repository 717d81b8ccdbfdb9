"""Rows in every form: read into one normal form, or refused with file, line, field and the fix."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from llmops_kit.core.errors import DataError
from llmops_kit.data_pipeline.split_files import SplitFiles
from llmops_kit.training.data.lines import read_lines
from llmops_kit.training.data.rows import Row, group_of, prompt_of, read_rows

QUESTION = {"role": "user", "content": "Which port?"}
ANSWER = {"role": "assistant", "content": "Port 8080."}
OTHER = {"role": "assistant", "content": "No idea."}
SYSTEM = {"role": "system", "content": "Be short."}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "find_port", "arguments": '{"service": "web", "n": 1}'}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "8080"}
PARAMETERS = {"type": "object", "properties": {"service": {"type": "string"}}, "required": ["service"]}
TOOL = {"type": "function", "function": {"name": "find_port", "description": "Finds.", "parameters": PARAMETERS}}


def line(**changes: object) -> bytes:
    row = {"messages": [QUESTION, ANSWER], "fact": "f01", "expect": ["8080"], **changes}
    return json.dumps({k: v for k, v in row.items() if v is not None}).encode()


def tool_with(**function: object) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {**TOOL["function"], **function}}]  # type: ignore[dict-item]


def write(tmp_path: Path, *lines: bytes) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def read(tmp_path: Path, **row: object) -> Row:
    """The row, which its own normal form gives again."""
    [(_, first)] = read_rows(write(tmp_path, json.dumps(row).encode()))
    [(_, again)] = read_rows(write(tmp_path, first.to_line().encode()))
    assert again == first
    assert again.to_line() == first.to_line()
    return first


def roles(row: Row) -> list[str]:
    return [turn.role for turn in row.messages]


BAD_JSON = [
    (b'{"messages": [', "is not JSON"),
    (b'["a"]', "is not a JSON object but list"),
    (b'{"messages": "\xe9"}', "is not UTF-8 at byte 14"),
    (b'{"text": "a", "text": "b"}', "twice"),
    (b'{"text": "a", "n": ' + b"[" * 33 + b"]" * 33 + b"}", "nested"),
    (b'{"text": "a", "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
    (b'{"text": "a", "n": 9223372036854775808}', "64 bits"),
    (b'{"text": "a", "n": ' + b"9" * 5000 + b"}", "is not JSON"),
    (b'{"text": "a", "n": NaN}', "not finite"),
    (b'{"text": "a", "n": -1e999}', "not finite"),
    (b'{"text": "a\\ud800"}', "surrogate"),
    (b'{"text": "a", "\\ud800": 1}', "surrogate"),
    (b'{"id": 1}', "has none of"),
    (b'{"prompt": "a"}', "has none of"),
    (b'{"messages": [], "text": "a"}', "can be read as messages and as text"),
]


@pytest.mark.parametrize(("dirty", "what"), BAD_JSON)
def test_a_line_that_is_no_row_is_refused_by_its_number(tmp_path: Path, dirty: bytes, what: str) -> None:
    path = write(tmp_path, line(), b"", dirty)
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    assert caught.value.where == f"{path}:3"
    assert what in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"messages": [QUESTION, {**ANSWER, "role": "bot"}]}, "messages.1.role"),
        ({"messages": [QUESTION, {**ANSWER, "content": 5}]}, "messages.1.content"),
        ({"messages": [QUESTION, {**ANSWER, "content": " \n"}]}, "messages.1"),
        ({"messages": [QUESTION, {**ANSWER, "content": "8080\x00"}]}, "messages.1"),
        ({"messages": [QUESTION, {**ANSWER, "content": "8080 \ufffd"}]}, "messages.1"),
        ({"messages": [QUESTION, {**ANSWER, "content": "8080 \ufdd0"}]}, "messages.1"),
        ({"messages": [QUESTION, {**ANSWER, "weight": 1}]}, "messages.1.weight"),
        ({"messages": [QUESTION, {**ANSWER, "content": [{"type": "image_url"}]}]}, "messages.1.content"),
        ({"messages": "none"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [QUESTION]}, "messages"),
        ({"messages": [ANSWER, QUESTION]}, "messages"),
        # tools
        ({"messages": [QUESTION, {**CALL, "role": "user"}, ANSWER]}, "messages.1"),
        ({"messages": [QUESTION, RESULT, ANSWER]}, "messages"),
        ({"messages": [QUESTION, CALL, {**RESULT, "tool_call_id": "c2"}, ANSWER]}, "messages"),
        ({"messages": [QUESTION, CALL, RESULT, RESULT, ANSWER]}, "messages"),
        ({"messages": [QUESTION, CALL, ANSWER]}, "messages"),
        ({"messages": [QUESTION, CALL, QUESTION, ANSWER]}, "messages"),
        ({"messages": [QUESTION, CALL], "tools": tool_with(name="other")}, "messages.1"),
        ({"messages": [QUESTION, CALL], "tools": tool_with(parameters={})}, "messages.1"),
        ({"messages": [QUESTION, ANSWER], "tools": [{"type": "function"}]}, "tools.0.function"),
        ({"messages": [QUESTION, ANSWER], "tools": tool_with(name="find port")}, "tools.0.function.name"),
        (
            {"messages": [QUESTION, ANSWER], "tools": tool_with(parameters={"type": "dict"})},
            "tools.0.function.parameters.type",
        ),
        (
            {
                "messages": [QUESTION, ANSWER],
                "tools": tool_with(parameters={"type": "object", "properties": {"a": {"type": "float"}}}),
            },
            "tools.0.function.parameters.properties.a.type",
        ),
        (
            {"messages": [QUESTION, ANSWER], "tools": tool_with(parameters={"type": "object", "required": "a"})},
            "tools.0.function.parameters.required",
        ),
        (
            {"messages": [QUESTION, ANSWER], "tools": tool_with(parameters={"type": "object", "properties": ["a"]})},
            "tools.0.function.parameters.properties",
        ),
        ({"messages": [QUESTION, ANSWER], "tools": tool_with(description="a\x1b")}, "tools.0.function"),
        # expectations
        ({"messages": [QUESTION, ANSWER], "expect": ["8081"]}, "expect"),
        ({"messages": [QUESTION, ANSWER], "expect": ["80"]}, "expect"),
        ({"messages": [QUESTION, ANSWER], "expect": ["8080|"]}, "expect"),
        ({"messages": [QUESTION, ANSWER], "expect": "8080"}, "expect"),
        # the other forms
        ({"prompt": "", "completion": "b"}, "prompt.0"),
        ({"prompt": "a", "completion": [QUESTION]}, "completion"),
        ({"prompt": [QUESTION, ANSWER], "completion": "b"}, "completion"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, ""),
        ({"prompt": "a", "chosen": [QUESTION, ANSWER], "rejected": [QUESTION, OTHER]}, "chosen"),
        ({"chosen": "b", "rejected": "c"}, "chosen"),
        ({"chosen": [QUESTION, ANSWER], "rejected": [SYSTEM, QUESTION, ANSWER]}, "chosen"),
        ({"text": ["a"]}, "text"),
        ({"text": " "}, "text"),
        ({"text": "a", "expect": ["a"]}, ""),
        ({"translation": {"en": "a"}}, "translation"),
        ({"translation": {"en": "a", "de": ""}}, "translation.de"),
        ({"translation": {"en": "a", "../de": "b"}}, "translation"),
        ({"translation": {"en": "a", "de": "b"}, "tools": [TOOL]}, ""),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_field(tmp_path: Path, row: dict[str, Any], field: str) -> None:
    path = write(tmp_path, line(), json.dumps(row).encode())
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    assert caught.value.where == f"{path}:2" + (f": {field}" if field else "")
    assert caught.value.fix


@pytest.mark.parametrize(
    ("arguments", "what"),
    [("[1]", "mapping"), ("{", "not JSON"), ('{"a": 1, "a": 2}', "twice"), ('{"a": NaN}', "finite"), (5, "mapping")],
)
def test_arguments_that_are_no_object_are_refused(tmp_path: Path, arguments: object, what: str) -> None:
    call = {**CALL, "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
    with pytest.raises(DataError, match=what) as caught:
        read(tmp_path, messages=[QUESTION, call])
    assert caught.value.where.endswith("messages.1.tool_calls.0.function.arguments")


def test_good_lines_are_numbered_and_normalised(tmp_path: Path) -> None:
    decomposed = {**ANSWER, "content": "  Cafe\u0301,\r\nport 8080.  "}
    path = write(tmp_path, b"", line(messages=[SYSTEM, QUESTION, decomposed]), line(fact=None, expect=None))
    (first, row), (second, plain) = read_rows(path)
    assert (first, second) == (2, 3)
    assert row.kind == "chat"
    assert row.answer == "Caf\u00e9,\nport 8080."
    assert [m["role"] for m in row.prompt] == ["system", "user"]
    assert row.metadata == {"fact": "f01"}
    assert (plain.metadata, plain.expect) == ({}, [])


def test_other_keys_are_metadata(tmp_path: Path) -> None:
    row = read(tmp_path, messages=[QUESTION, ANSWER], fact=7, tags=["a", {"b": None}], empty=None, prompt="a", name="")
    assert row.metadata == {"fact": 7, "tags": ["a", {"b": None}], "prompt": "a", "name": ""}
    assert group_of(row, "fact") == "7"


def test_translations_of_one_message_are_one_group_whatever_their_language_and_spelling(tmp_path: Path) -> None:
    texts = ({"en": "Save as…", "de": "Speichern als…"}, {"en": " save  AS", "fr": "Enregistrer sous"})
    rows = [read(tmp_path, translation=each) for each in texts]
    assert [group_of(row, "translation.en") for row in rows] == ["save as", "save as"]
    assert group_of(rows[0], "translation.fr") == ""


def test_a_text_may_spell_out_any_special_token(tmp_path: Path) -> None:
    text = "In ChatML <|im_end|> ends a turn; in Llama 2, </s> and [/INST] do."
    assert read(tmp_path, messages=[QUESTION, {**ANSWER, "content": text}]).answer == text


def test_a_tool_call_and_its_result_have_one_form(tmp_path: Path) -> None:
    as_object = {**CALL, "content": "", "refusal": None, "annotations": []}
    as_object["tool_calls"] = [{"id": "c1", "function": {"name": "find_port", "arguments": {"n": 1, "service": "web"}}}]
    given = read(tmp_path, messages=[QUESTION, CALL, RESULT, ANSWER], tools=[TOOL])
    assert given == read(tmp_path, messages=[QUESTION, as_object, {**RESULT, "name": "x"}, ANSWER], tools=[TOOL])
    assert given.turns[1] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "find_port", "arguments": {"service": "web", "n": 1}}}
        ],
    }
    assert given.turns[2] == {"role": "tool", "content": "8080", "tool_call_id": "c1", "name": "find_port"}
    assert [tool.to_dict() for tool in given.tools] == [TOOL]


def test_results_without_ids_belong_to_the_calls_in_order(tmp_path: Path) -> None:
    calls = [{"function": {"name": name, "arguments": {}}} for name in ("a", "b")]
    results = [{"role": "tool", "content": "1"}, {"role": "tool", "content": ""}]
    row = read(tmp_path, messages=[QUESTION, {"role": "assistant", "tool_calls": calls}, *results, ANSWER])
    assert [turn.name for turn in row.messages] == ["", "", "a", "b", ""]


def test_a_chat_log_ends_with_its_last_answer_and_turns_of_one_role_are_one(tmp_path: Path) -> None:
    greeting = {"role": "assistant", "content": "Hello!"}
    parts = {"role": "user", "content": [{"type": "text", "text": "Which"}, {"type": "text", "text": "port?"}]}
    log = [{**SYSTEM, "role": "developer"}, greeting, parts, QUESTION, OTHER, CALL, RESULT, ANSWER, QUESTION]
    row = read(tmp_path, messages=log)
    assert roles(row) == ["system", "assistant", "user", "assistant", "tool", "assistant"]
    assert row.messages[2].content == "Which\nport?\n\nWhich port?"
    assert row.messages[3].content == "No idea."
    assert len(row.messages[3].tool_calls) == 1


def test_a_call_may_be_the_last_answer(tmp_path: Path) -> None:
    row = read(tmp_path, messages=[QUESTION, CALL], tools=[TOOL])
    assert row.answer == ""
    assert row.turns[-1]["tool_calls"]
    assert roles(read(tmp_path, messages=[QUESTION, CALL, RESULT, QUESTION])) == ["user", "assistant"]


def test_prompt_and_completion_are_a_conversation(tmp_path: Path) -> None:
    row = read(tmp_path, prompt="Which port?", completion="Port 8080.", expect=["8080"])
    assert row == read(tmp_path, messages=[QUESTION, ANSWER], expect=["8080"])
    longer = read(tmp_path, prompt=[QUESTION, OTHER, QUESTION], completion=[ANSWER, QUESTION, ANSWER])
    assert (len(longer.messages), longer.completion) == (6, 3)


def test_question_and_answer_are_a_conversation(tmp_path: Path) -> None:
    row = read(tmp_path, question="Which port?", answer="Port 8080.", expect=["8080"], fact="port")
    assert row == read(tmp_path, messages=[QUESTION, ANSWER], expect=["8080"], fact="port")
    with pytest.raises(DataError) as caught:
        read(tmp_path, question="Which port?", answer="")
    assert "rows.jsonl:1: answer" in caught.value.where
    named = read(tmp_path, messages=[QUESTION, ANSWER], question="Where?", answer="Here.")
    assert named.metadata == {"question": "Where?", "answer": "Here."}


def test_a_row_without_a_form_is_told_its_keys_and_the_columns_of_csv(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, Frage="Which port?", Antwort="Port 8080.")
    assert caught.value.fix.startswith("its keys: 'Frage', 'Antwort'; ")
    assert caught.value.fix.endswith("in CSV, name the columns question and answer")


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": "Which port?", "chosen": "Port 8080.", "rejected": "No idea."},
        {"prompt": [QUESTION], "chosen": [ANSWER], "rejected": [OTHER, QUESTION]},
        {"chosen": [QUESTION, ANSWER], "rejected": [QUESTION, OTHER]},
        {"prompt": "Which port?", "chosen": [QUESTION, ANSWER], "rejected": [QUESTION, OTHER]},
    ],
)
def test_preferences_have_one_form(tmp_path: Path, given: dict[str, Any]) -> None:
    row = read(tmp_path, **given)
    assert row.kind == "preference"
    assert [turn.to_dict() for turn in row.messages] == [QUESTION]
    assert [turn.to_dict() for turn in row.rejected] == [OTHER]
    assert (row.prompt, row.answer) == ([QUESTION], "Port 8080.")


def test_preferences_may_differ_in_several_turns(tmp_path: Path) -> None:
    same = [QUESTION, OTHER, QUESTION]
    row = read(tmp_path, chosen=[*same, ANSWER], rejected=[*same, {**ANSWER, "content": "9"}, QUESTION, OTHER])
    assert (roles(row), len(row.chosen), len(row.rejected)) == (["user", "assistant", "user"], 1, 3)


def test_texts_and_translations_ask_nothing(tmp_path: Path) -> None:
    text, pair = read(tmp_path, text=" A page. "), read(tmp_path, translation={"en": "tea", "de": "Tee"}, id=1)
    assert (text.kind, text.text, text.prompt, text.answer) == ("text", "A page.", [], "")
    assert (pair.kind, pair.translation, pair.metadata) == ("translation", {"de": "Tee", "en": "tea"}, {"id": 1})
    assert prompt_of(text) != prompt_of(pair)


def test_what_is_asked_is_compared_with_calls_and_tools(tmp_path: Path) -> None:
    plain = read(tmp_path, messages=[QUESTION, ANSWER])
    assert prompt_of(plain) == prompt_of(read(tmp_path, messages=[{**QUESTION, "content": "which  PORT?"}, OTHER]))
    assert prompt_of(plain) != prompt_of(read(tmp_path, messages=[QUESTION, ANSWER], tools=[TOOL]))
    other = {**CALL, "tool_calls": [{"id": "c1", "function": {"name": "find_port", "arguments": {"service": "db"}}}]}
    called = [read(tmp_path, messages=[QUESTION, call, RESULT, ANSWER]) for call in (CALL, other)]
    assert prompt_of(called[0]) != prompt_of(called[1])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        list(read_rows(tmp_path / "none.jsonl"))


def test_parquet_and_json_lines_read_alike(tmp_path: Path) -> None:
    """Dataset versions of an older kit hold JSON lines."""
    lines = [json.dumps({"text": f"Line {n}\u2028"}, ensure_ascii=False) for n in range(9000)]  # two row groups
    file = SplitFiles(tmp_path, "rows")
    for start, end in ((0, 10), (10, 8500), (8500, 9000)):
        file.add(pa.array([line + "\n" for line in lines[start:end]]))
    file.close()
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    assert list(read_rows(tmp_path / "rows.parquet")) == list(read_rows(tmp_path / "rows.jsonl"))
    assert list(read_lines(tmp_path / "rows.parquet")) == [line.encode() for line in lines]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="is no file of rows"):
        list(read_rows(tmp_path / "bad.parquet"))
