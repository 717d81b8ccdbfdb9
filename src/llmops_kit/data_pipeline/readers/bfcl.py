"""Reads tool calls of the Berkeley Function Calling Leaderboard (Patil et al., https://gorilla.cs.berkeley.edu).

A category is two files of JSON lines with one name: questions with the functions that may be called, and in
`possible_answer/` the calls, each argument as a list of accepted values. Categories of irrelevance have no second file:
nothing must be called.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from llmops_kit.core.errors import DataError
from llmops_kit.core.json_schema.checks import check_schema
from llmops_kit.core.models.tool_calls import ParsedCall, fault_of_call
from llmops_kit.data_pipeline.readers.jsons import read_lines_of_json
from llmops_kit.data_pipeline.readers.reader import DataFile, ReadRow

NO_CALL = "None of these tools can do that."
"""The answer to a question that no function fits; the leaderboard has none."""
_ANSWERS = "possible_answer"
_TYPES = {"dict": "object", "float": "number", "tuple": "array"}
_FIX = "leave the category out, or let data.faulty_rows tolerate such rows"


def read_bfcl(file: DataFile) -> Iterator[ReadRow]:
    """Yields a chat row for each question of one turn: `messages`, `tools`, and as metadata `id`, `category` (of the
    file's name) and `function` (the first one that is offered), by which rows can be held out.

    Each argument gets its first accepted value; optional ones are left out. The file of answers itself yields no rows.

    Raises:
        DataError: the answers were not collected with the questions.
    """
    if file.path.parent.name == _ANSWERS:
        return
    category = file.path.name.partition(".")[0].partition("_v")[2].partition("_")[2]
    answers = None if "irrelevance" in category else _read_answers(file)
    for read in read_lines_of_json(file):
        if read.row is None:
            yield read
            continue
        try:
            yield ReadRow(read.where, _row(read.row, category, answers))
        except (ValueError, LookupError, TypeError, AttributeError, StopIteration) as e:
            what = f"is not a question of the leaderboard that can be converted: {e}"
            yield ReadRow(read.where, None, DataError(what, where=read.where, fix=_FIX))


def _read_answers(file: DataFile) -> dict[str, Any]:
    """Returns id -> the right calls."""
    path = file.path.parent / _ANSWERS / file.path.name
    if not path.is_file():
        what = f"its answers, {_ANSWERS}/{file.path.name}, were not collected"
        raise DataError(what, where=file.name, fix="let the source's `files` match both: `data/**/NAME.json`")
    rows = [read.row for read in read_lines_of_json(DataFile(path, f"{file.name}: {_ANSWERS}"))]
    return {row["id"]: row.get("ground_truth") for row in rows if row and "id" in row}


def _row(data: dict[str, Any], category: str, answers: dict[str, Any] | None) -> dict[str, Any]:
    """Converts a question and its calls.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: it is not of the expected form, or a call does not fit its
            schema.
    """
    [turn] = data["question"]
    tools = [_tool(function) for function in data["function"]]
    if answers is None:
        answer: dict[str, Any] = {"role": "assistant", "content": NO_CALL}
    else:
        calls = [_call(call, tools) for call in answers[data["id"]]]
        answer = {"role": "assistant", "content": "", "tool_calls": [{"function": call._asdict()} for call in calls]}
    metadata = {"id": data["id"], "category": category, "function": tools[0]["function"]["name"]}
    return {"messages": [*turn, answer], "tools": tools, **metadata}


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    schema = _schema(function["parameters"])
    check_schema(schema)
    fields = {"name": function["name"], "description": function["description"], "parameters": schema}
    return {"type": "function", "function": fields}


def _schema(schema: Any) -> Any:
    """Returns a schema as JSON schema."""
    if not isinstance(schema, dict):
        return schema
    made = {key: value for key, value in schema.items() if key != "optional"}
    if (kind := made.pop("type", "any")) != "any":
        made["type"] = _TYPES.get(kind, kind)
    if "properties" in schema:
        made["properties"] = {name: _schema(inner) for name, inner in schema["properties"].items()}
    if "items" in schema:
        made["items"] = _schema(schema["items"])
    return made


def _call(stated: Mapping[str, Any], tools: list[dict[str, Any]]) -> ParsedCall:
    [(name, arguments)] = stated.items()
    schema = next(tool["function"]["parameters"] for tool in tools if tool["function"]["name"] == name)
    call = ParsedCall(name, _chosen(arguments, schema))
    if fault := fault_of_call(call, tools):
        raise ValueError(f"the right call of {name} does not fit its schema: {fault}")
    return call


def _chosen(values: Mapping[str, list[Any]], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Returns each argument's first accepted value, without optional arguments."""
    chosen: dict[str, Any] = {}
    for name, right in values.items():
        if "" in right and name not in schema.get("required", ()):
            continue
        first = next(value for value in right if value != "")
        chosen[name] = _plain(first, schema.get("properties", {}).get(name, {}))
    return chosen


def _plain(value: Any, schema: Mapping[str, Any]) -> Any:
    """Returns an accepted value; within objects, each field is again a list of accepted values."""
    if isinstance(value, dict):
        return _chosen(value, schema)
    if isinstance(value, list):
        return [_plain(each, schema.get("items", {})) for each in value]
    return value
