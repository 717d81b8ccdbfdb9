"""Values are held against schemas of others, in bounded time."""

import json
from typing import Any

import pytest

from llmops_kit.core.json_schema.checks import check_schema, fault_of

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "pattern": "^[A-Z]"}, "days": {"$ref": "#/$defs/days"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"days": {"type": "integer", "minimum": 1}},
}


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"city": "Graz", "days": 2}, ""),
        ({"city": "graz"}, "city: 'graz' does not match"),
        ({"city": "Graz", "days": 0}, "days: 0 is less than"),
        ({"days": 2}, "'city' is a required property"),
        ({"city": "Graz", "more": 1}, "Additional properties"),
        (["Graz"], "is not of type 'object'"),
    ],
)
def test_a_value_is_held_against_a_schema(value: Any, fault: str) -> None:
    check_schema(CITY)
    assert fault in fault_of(value, CITY)
    assert bool(fault) == bool(fault_of(value, CITY))


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "dict"}, "not a JSON schema"),
        ({"properties": {"a": {"minimum": "one"}}}, "not a JSON schema"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "leads to no part"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "leads to no part"),
        ({"$ref": "#"}, "circles"),
        ({"$ref": "#name", "$defs": {"a": {"$anchor": "name"}}}, "leads to no part"),
        ({"items": {"$ref": "#/x/a"}, "x": {"a": {"type": "dict"}}}, "leads to no part"),
        ({"items": {"patternProperties": {"(a+)+$": True}}}, "patternProperties"),
        ({"pattern": "(?=a)b"}, "regular expression"),
    ],
)
def test_a_schema_that_reaches_out_or_is_none_is_refused(schema: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_schema(schema)


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"allOf": [schema], "unevaluatedProperties": False}
    return schema


BRANCHES = {"anyOf": [{"$ref": "#/$defs/node"}] * 3}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$ref": "#/$defs/node", "$defs": {"node": {"type": "array", "items": BRANCHES}}}, "[" * 30 + "1" + "]" * 30),
        (deep(14), {f"k{i}": 1 for i in range(5000)}),
        ({"anyOf": [{"type": "integer"}] * 900}, "x" * 65_000),
        ({"items": {"enum": [str(i) for i in range(900)]}}, ["x"] * 10_000),
        ({"pattern": "(.{0,9000})q"}, "a" * 65_000),
    ],
    ids=["references", "unevaluated", "messages", "enum", "pattern"],
)
def test_a_comparison_that_takes_too_long_is_stopped(schema: Any, value: Any) -> None:
    check_schema(schema)
    with pytest.raises(ValueError, match="more than 100000 steps"):
        fault_of(json.loads(value) if schema.get("$defs") else value, schema)


def test_items_that_are_unique_are_found_in_linear_time() -> None:
    mixed: list[Any] = [{}, True, "1", [1], *range(20_000)]
    assert not fault_of(mixed, {"uniqueItems": True})
    for twice in (1.0, {}, [1.0]):
        assert fault_of([*mixed, twice], {"uniqueItems": True})


def test_a_pattern_takes_linear_time() -> None:
    schema = {"pattern": "^(a+)+$"}
    check_schema(schema)
    assert fault_of("a" * 50_000 + "b", schema)
