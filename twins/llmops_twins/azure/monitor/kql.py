"""Runs queries over rows, in the supported part of the Kusto query language (kql_parse).

https://learn.microsoft.com/kusto/query
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llmops_twins.azure.monitor.kql_parse import QueryError, QueryNode, QueryStep, parse

__all__ = ["QueryError", "Table", "run"]
Row = dict[str, Any]
Table = tuple[Sequence[str], Iterable[Row]]
"""The names of a table's columns, and its rows. Times are seconds since 1970."""


def run(text: str, table: Callable[[str], Table]) -> tuple[list[str], list[Row]]:
    """Returns the columns and rows of a query's result.

    Args:
        text: the query.
        table: returns a table by its name; raises QueryError if there is none.

    Raises:
        QueryError: the query is unsupported.
    """
    query = parse(text)
    columns, rows = table(query.table)
    names, found = list(columns), list(rows)
    for step in query.steps:
        names, found = _apply(step, names, found)
    return names, found


def _apply(step: QueryStep, names: list[str], rows: list[Row]) -> tuple[list[str], list[Row]]:
    if step.word == "where":
        return names, [row for row in rows if _value(step.columns[0][1], row, names) is True]
    if step.word == "extend":
        made = [row | {name: _value(node, row, names) for name, node in step.columns} for row in rows]
        return [*names, *(name for name, _ in step.columns if name not in names)], made
    if step.word == "project":
        made = [{name: _value(node, row, names) for name, node in step.columns} for row in rows]
        return [name for name, _ in step.columns], made
    return _summarized(step, names, rows)


def _summarized(step: QueryStep, names: list[str], rows: list[Row]) -> tuple[list[str], list[Row]]:
    groups: dict[str, tuple[Row, list[Row]]] = {}
    if not step.by:
        groups[""] = {}, rows
    for row in rows if step.by else []:
        values = {name: _value(node, row, names) for name, node in step.by}
        groups.setdefault(json.dumps(values, sort_keys=True, default=str), (values, []))[1].append(row)
    made = [
        values | {name: _value(node, {}, names, members) for name, node in step.columns}
        for values, members in groups.values()
    ]
    return [name for name, _ in (*step.by, *step.columns)], made


def _value(node: QueryNode, row: Row, names: Sequence[str], group: list[Row] | None = None) -> Any:
    """Returns the value of an expression for a row, or for a group of rows."""
    if node.kind == "value":
        return node.value
    if node.kind == "name":
        if node.value not in names and node.value not in row:
            raise QueryError(f"Failed to resolve column or scalar expression named '{node.value}'")
        return row.get(node.value)
    if node.kind == "list":
        return [_value(part, row, names, group) for part in node.parts]
    if node.kind == "call" and node.value in _AGGREGATES:
        if group is None:
            raise QueryError(f"{node.value}() is for summarize")
        return _AGGREGATES[node.value]([[_value(part, each, names) for part in node.parts] for each in group])
    values = [_value(part, row, names, group) for part in node.parts]
    if node.kind == "member":
        return _member(values[0], node.value)
    if node.kind == "call":
        if node.value not in _FUNCTIONS:
            raise QueryError(f"the function '{node.value}' is not understood by this twin")
        return _FUNCTIONS[node.value](*values)
    return _OPERATORS[node.kind](*values)


def _member(value: Any, name: Any) -> Any:
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, list) and isinstance(name, int) and name < len(value):
        return value[name]
    return None


def _has(text: Any, term: Any) -> bool:
    return bool(re.search(rf"(?<![a-z0-9]){re.escape(str(term).lower())}(?![a-z0-9])", str(text or "").lower()))


def _compared(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool | None]:
    """Returns a comparison whose result is None if a value is missing or the types differ."""

    def apply(a: Any, b: Any) -> bool | None:
        if a is None or b is None:
            return None
        try:
            return compare(a, b)
        except TypeError:
            return None

    return apply


def _divided(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b else None
    return a / b if b else math.nan


def _computed(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: None if a is None or b is None else compute(a, b)


def _number(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(value: Any) -> Any:
        try:
            return convert(value)
        except (TypeError, ValueError):
            return None

    return apply


def _json(text: Any) -> Any:
    """Returns the parsed value of a JSON text; any other value, and text that is not JSON, unchanged."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _firsts(rows: list[list[Any]]) -> list[Any]:
    return [row[0] for row in rows if row[0] is not None]


_OPERATORS: dict[str, Callable[..., Any]] = {
    "and": lambda a, b: a is True and b is True,
    "or": lambda a, b: a is True or b is True,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "=~": lambda a, b: str(a).lower() == str(b).lower(),
    "<": _compared(lambda a, b: a < b),
    ">": _compared(lambda a, b: a > b),
    "<=": _compared(lambda a, b: a <= b),
    ">=": _compared(lambda a, b: a >= b),
    "has": _has,
    "in": lambda a, b: a in b,
    "+": _computed(lambda a, b: a + b),
    "-": _computed(lambda a, b: a - b),
    "*": _computed(lambda a, b: a * b),
    "/": _divided,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "iff": lambda condition, yes, no: yes if condition is True else no,
    "coalesce": lambda *values: next((value for value in values if value not in (None, "")), None),
    "toint": _number(lambda value: int(float(value))),
    "todouble": _number(float),
    "parse_json": _json,
    "isnotnull": lambda value: value is not None,
}
_AGGREGATES: dict[str, Callable[[list[list[Any]]], Any]] = {
    "count": len,
    "countif": lambda rows: sum(row[0] is True for row in rows),
    "min": lambda rows: min(_firsts(rows), default=None),
    "max": lambda rows: max(_firsts(rows), default=None),
}
