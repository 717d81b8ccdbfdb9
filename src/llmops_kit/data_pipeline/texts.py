"""Reads all texts of a row, and replaces them without breaking the row's structure."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from llmops_kit.training.data.rows import Row
from llmops_kit.training.data.turns import Turn

Change = Callable[[str], str]


def texts_of(row: Row) -> Iterator[str]:
    """Yields every text of a row: messages, both answers of a preference, sides of a pair, strings in calls and
    metadata.
    """
    for turn in (*row.messages, *row.chosen, *row.rejected):
        yield turn.content
        for call in turn.tool_calls:
            yield from _strings(call.function.arguments)
    yield row.text
    yield from row.translation.values()
    yield from row.expect
    yield from _strings([tool.to_dict() for tool in row.tools])
    yield from _strings(row.metadata)


def prose_of(row: Row) -> str:
    """Returns a row's prose, for rules about language and quality: without system message, tools and metadata."""
    if row.kind == "text":
        return row.text
    turns = [turn for turn in (*row.messages, *row.chosen, *row.rejected) if turn.role != "system"]
    said = (*(turn.content for turn in turns), row.text, *row.translation.values())
    return "\n".join(text for text in said if text)


def changed(row: Row, change: Change) -> Row:
    """Returns a row with its texts replaced. Keys, names of tools and roles stay; arguments of calls stay JSON
    values.
    """

    def of(turns: list[Turn]) -> list[Turn]:
        return [_changed_turn(turn, change) for turn in turns]

    return replace(
        row,
        messages=of(row.messages),
        chosen=of(row.chosen),
        rejected=of(row.rejected),
        text=change(row.text),
        translation={language: change(text) for language, text in row.translation.items()},
        expect=[change(each) for each in row.expect],
        metadata=_changed_value(row.metadata, change),
    )


def _changed_turn(turn: Turn, change: Change) -> Turn:
    calls = [
        call.model_copy(
            update={
                "function": call.function.model_copy(
                    update={"arguments": _changed_value(call.function.arguments, change)}
                )
            }
        )
        for call in turn.tool_calls
    ]
    return turn.model_copy(update={"content": change(turn.content), "tool_calls": calls})


def _changed_value(value: Any, change: Change) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_changed_value(each, change) for each in value]
    if isinstance(value, dict):
        return {key: _changed_value(each, change) for key, each in value.items()}
    return value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
