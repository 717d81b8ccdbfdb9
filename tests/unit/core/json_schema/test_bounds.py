"""Schemas are bounded before anything of them is compiled, resolved or expanded."""

from dataclasses import fields
from typing import Any

import pytest

from llmops_kit.core.json_schema.bounds import LIMITS, SchemaBounds, SchemaLimits, check_bounds
from llmops_kit.core.json_schema.checks import check_schema
from tests.support.checkout import CHECKOUT


def doubled(levels: int, last: Any) -> dict[str, Any]:
    """References to twice the next level each."""
    chain = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/l0", "$defs": {**chain, f"l{levels}": last}}


def named(count: int, schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{n}": schema for n in range(count)}}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


BEYOND = [
    ("characters", {"description": "x" * 32_768}, ""),
    ("depth", nested(33), "items." * 32 + "items"),
    ("subschemas", named(1000, {}), "properties.p"),
    ("subschemas", {"anyOf": [True] * 1001}, "anyOf."),
    ("subschemas", {"dependencies": {f"d{n}": {} for n in range(1000)}}, "dependencies.d"),
    ("references", named(501, {"$ref": "#/$defs/a"}) | {"$defs": {"a": {}}}, "properties.p"),
    ("expansion", doubled(12, {"type": "string"}), "$defs.l1"),
    ("expansion", doubled(4, {"enum": list(range(1000))}), "$defs.l"),
    ("enum_values", named(3, {"enum": list(range(334))}), ".enum"),
    ("enum_characters", {"items": {"const": "x" * 16_384}}, "items.const"),
    ("patterns", named(65, {"pattern": "a"}), ".pattern"),
    ("pattern_characters", {"not": {"pattern": "a" * 513}}, "not.pattern"),
    ("pattern_size", {"pattern": r"\w{201}"}, "pattern"),
    ("pattern_size", {"pattern": "((a{100}){100}){2}"}, "pattern"),
    ("pattern_size", named(32, {"pattern": r"\w{190}x"}), ".pattern"),
]


@pytest.mark.cve("grammar-length")
@pytest.mark.parametrize(("limit", "schema", "place"), BEYOND)
def test_a_schema_beyond_a_limit_is_refused_by_its_name_and_place(limit: str, schema: Any, place: str) -> None:
    for check in (check_bounds, check_schema):
        with pytest.raises(ValueError, match=rf"exceeds the limit {limit} of {getattr(LIMITS, limit):,}$") as caught:
            check(schema)
        assert place in str(caught.value).partition(":")[0] or not place


def test_every_limit_is_tried_and_documented() -> None:
    page = (CHECKOUT / "docs" / "how-to" / "server-limits.md").read_text()
    for field in fields(SchemaLimits):
        assert field.name in {limit for limit, *_ in BEYOND}
        assert f"| `{field.name}` | {field.default:,} |" in page


@pytest.mark.parametrize(
    "schema",
    [
        named(999, {}),
        {"anyOf": [True] * 999},
        named(499, {"$ref": "#/$defs/a"}) | {"$defs": {"a": {}}},
        doubled(9, {"type": "string"}),
        {"enum": list(range(1000))},
        named(64, {"pattern": r"^[a-z_-]{1,150}$"}),
        {"pattern": r"^[\w.%+-]+@[\w.-]+\.\w{2,63}$"},
        {"properties": {"children": {"items": {"$ref": "#"}}}},
        {"$ref": "#/properties/a~1b/anyOf/1", "properties": {"a/b": {"anyOf": [{}, {"type": "string"}]}}},
        True,
    ],
)
def test_what_is_within_the_limits_is_taken(schema: Any) -> None:
    check_schema(schema)


def test_several_schemas_are_counted_together() -> None:
    bounds = SchemaBounds()
    for _ in range(64):
        bounds.add({"pattern": "a"})
    with pytest.raises(ValueError, match="pattern: exceeds the limit patterns"):
        bounds.add({"pattern": "a"})


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "circles at properties.a"),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#"}}}},
            "circles",
        ),
        ({"$ref": "other.json"}, "leads to no part"),
        ({"$ref": "#/enum/0", "enum": [3]}, "leads to no part"),
        ({"$ref": "#/x/y", "x": {"y": {"pattern": r"\w{999}"}}}, "leads to no part"),
        ({"$ref": "#/anyOf/00001", "anyOf": [{}]}, "leads to no part"),
        ({"type": [{}, *range(5000)]}, "type: it is not a list of names"),
        ({"items": {"dependencies": {"a": [{}, *range(5000)]}}}, "dependencies.a: it is not a list of names"),
        ({"type": [f"t{n}" for n in range(3000)]}, "type: there are 7 types"),
        ({"const": 2**63}, "64 bits"),
        ({"const": float("inf")}, "finite"),
    ],
)
def test_what_would_take_long_or_leads_nowhere_is_refused_at_once(schema: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_bounds(schema)


@pytest.mark.parametrize("wrong", [3, "x", [3], {"a": 3}, None, True])
def test_a_wrong_form_is_no_schema_but_no_fault_here(wrong: Any) -> None:
    keywords = ("properties", "allOf", "items", "$defs", "prefixItems", "enum", "pattern", "$ref", "required", "not")
    for keyword in keywords:
        if keyword != "$ref" or not isinstance(wrong, str):
            check_bounds({keyword: wrong} if keyword != "required" or not isinstance(wrong, list) else {})
