"""JSON of others is read within limits, and so are the schemas that it is held against."""

from typing import Any

import pytest

from contract.json_values import check_schema, equal_json, fault_of, read_json

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "pattern": "^[A-Z]"}, "days": {"$ref": "#/$defs/days"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"days": {"type": "integer", "minimum": 1}},
}


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 2}', "[" * 40 + "]" * 40, "1e999", "NaN", "9223372036854775808", '"\\ud800"', "{", "[" * 70_000],
)
def test_json_that_readers_differ_on_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"twice|nested|finite|64 bits|surrogate|Expecting|characters"):
        read_json(text)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [(1, 1.0, True), (1, True, False), ([1, [0]], [1, [False]], False), ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True)],
)
def test_values_are_equal_as_json_has_them(one: Any, other: Any, equal: bool) -> None:
    assert equal_json(one, other) is equal


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
        ({"type": "dict"}, "no JSON schema"),
        ({"properties": {"a": {"minimum": "one"}}}, "no JSON schema"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "leads to no part"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "leads to no part"),
        ({"$ref": "#"}, "circles|steps"),
        ({"items": {"patternProperties": {"(a+)+$": True}}}, "patternProperties"),
        ({"pattern": "(?=a)b"}, "regular expression"),
        ({"pattern": "((a{1000}){1000}){1000}"}, "regular expression"),
    ],
)
def test_a_schema_that_reaches_out_or_is_none_is_refused(schema: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_schema(schema)


def test_a_schema_that_asks_for_exponentially_much_is_stopped() -> None:
    levels = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(30)}
    with pytest.raises(ValueError, match="steps"):
        check_schema({"$ref": "#/$defs/l0", "$defs": levels | {"l30": {"type": "string"}}})


def test_a_pattern_takes_linear_time() -> None:
    schema = {"pattern": "^(a+)+$"}
    check_schema(schema)
    assert fault_of("a" * 50_000 + "b", schema)
