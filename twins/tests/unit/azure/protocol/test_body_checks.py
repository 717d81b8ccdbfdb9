"""Bodies against schemas."""

from typing import Any

import pytest

from llmops_twins.azure.protocol import body_checks
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.body_checks import Body, BodyError
from llmops_twins.azure.protocol.calls import TWIN, ArmCall
from llmops_twins.azure.protocol.declared import READ_ONLY, Stricter

TEXT = {"type": "string"}


def thing(required: tuple[str, ...] = (), read_only: tuple[str, ...] = (), **members: Any) -> dict[str, Any]:
    told = {"required": list(required), "readOnly": list(read_only)}
    return {"type": "object", "properties": members, "additionalProperties": False, **told}


def rule(kind: str, **members: Any) -> dict[str, Any]:
    return thing(tuple(members), kind={"enum": [kind]}, **members)


OBJECT = thing(
    ("name",),
    ("state",),
    name=TEXT | {"maxLength": 5, "pattern": "^[a-z]+$"},
    size={"type": ["integer", "null"], "minimum": 0, "maximum": 9},
    share={"type": "number"},
    on={"type": "boolean"},
    since={"type": "string", "format": "date-time"},
    every={"type": "string", "format": "duration"},
    mode={"enum": ["Fast", "Slow", None]},
    parts={"type": "array", "maxItems": 2, "items": thing(("id",), id=TEXT)},
    extra={"type": "object", "additionalProperties": TEXT},
    open={"type": "object", "properties": {"known": TEXT}, "additionalProperties": {}},
    rule={
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": ["Moving", "Static"]}},
        "allOf": [
            {"if": {"properties": {"kind": {"const": "Static"}}}, "then": rule("Static", limit={"type": "number"})},
            {"if": {"properties": {"kind": {"const": "Moving"}}}, "then": rule("Moving")},
        ],
    },
)
SCHEMA = thing(("properties",), properties=OBJECT, tags={"type": "object", "additionalProperties": TEXT})


def test_what_is_the_platforms_own_is_passed_over_and_spelling_is_mended() -> None:
    given = {"name": "a", "state": "Mine", "mode": "fast", "extra": {"any": "thing"}, "size": None, "every": "PT5M"}
    body = {"properties": given, "id": "/y"}
    kept = {"name": "a", "mode": "Fast", "extra": {"any": "thing"}, "every": "PT5M"}
    assert body_checks.judged(body, SCHEMA) == {"properties": kept}
    assert body == {"properties": given, "id": "/y"}
    assert body_checks.judged({"properties": {"name": "a", "open": {"known": "x", "more": 1}}}, SCHEMA)


@pytest.mark.parametrize(
    ("properties", "path"),
    [
        ({}, "properties.name"),
        (None, "properties.name"),
        ([1], "properties"),
        ({"name": 1}, "properties.name"),
        ({"name": "toolong"}, "properties.name"),
        ({"name": "A"}, "properties.name"),
        ({"name": "a", "nmae": 1}, "properties.nmae"),
        ({"name": "a", "nmae": None}, "properties.nmae"),
        ({"name": "a", "size": 1.5}, "properties.size"),
        ({"name": "a", "size": 10}, "properties.size"),
        ({"name": "a", "size": True}, "properties.size"),
        ({"name": "a", "share": "1"}, "properties.share"),
        ({"name": "a", "since": "soon"}, "properties.since"),
        ({"name": "a", "every": "5m"}, "properties.every"),
        ({"name": "a", "mode": "Middle"}, "properties.mode"),
        ({"name": "a", "parts": {}}, "properties.parts"),
        ({"name": "a", "parts": [{"id": "1"}, {}]}, "properties.parts[1].id"),
        ({"name": "a", "parts": [{"id": "1"}] * 3}, "properties.parts"),
        ({"name": "a", "extra": {"any": 1}}, "properties.extra.any"),
        ({"name": "a", "open": {"known": 1}}, "properties.open.known"),
        ({"name": "a", "rule": {"limit": 1}}, "properties.rule.kind"),
        ({"name": "a", "rule": {"kind": "Other"}}, "properties.rule.kind"),
        ({"name": "a", "rule": {"kind": "Static"}}, "properties.rule.limit"),
        ({"name": "a", "rule": {"kind": "Moving", "limit": 1}}, "properties.rule.limit"),
    ],
)
def test_the_first_thing_that_is_wrong_is_named(properties: Any, path: str) -> None:
    with pytest.raises(BodyError) as wrong:
        body_checks.judged({"properties": properties}, SCHEMA)
    assert wrong.value.path == path


def test_members_beside_the_properties() -> None:
    with pytest.raises(BodyError, match="Could not find member 'propreties' on object of type 'Resource'"):
        body_checks.judged({"properties": {"name": "a"}, "propreties": {}}, SCHEMA)


@pytest.mark.parametrize(
    ("properties", "path"),
    [
        ({"name": "a", "parts": [{"id": "c"}]}, "properties.parts[0].id"),
        ({"name": "a", "extra": {"x": "c"}}, "properties.extra.x"),
        ({"name": "a", "parts": [{"id": "b"}], "size": 1, "later": 1}, "properties.later"),
        ({"name": "a", "rule": {"kind": "Moving"}}, "properties.share"),
    ],
)
def test_a_service_is_stricter_than_the_declaration(properties: Any, path: str) -> None:
    stricter = Stricter(
        values={"properties.parts[].id": ("B",), "properties.extra.*": ("B",)},
        required=("properties.share",),
        more={"properties.later": TEXT, "properties.shown": READ_ONLY},
    )
    with pytest.raises(BodyError) as wrong:
        body_checks.judged({"properties": properties}, SCHEMA, stricter)
    assert wrong.value.path == path
    taken = body_checks.judged({"properties": {"name": "a", "share": 1, "later": "x", "shown": "y"}}, SCHEMA, stricter)
    assert taken["properties"] == {"name": "a", "share": 1, "later": "x"}


ACCOUNT: dict[str, Any] = {"kind": "storagev2", "sku": {"name": "standard_lrs", "tier": "passed over"}}


def put(body: Body, given: dict[str, Any]) -> Any:
    return body.judged(ArmCall("PUT", "/x", {}, {}, given, TWIN, "1", "/x", ""))


def test_a_body_is_judged_by_azures_own_models() -> None:
    body = Body("Microsoft.Storage/storageAccounts", code="Invalid")
    assert put(body, ACCOUNT) == {"kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": {}}
    shown = {"provisioningState": "Succeeded", "primaryEndpoints": {}, "accessTier": "hot"}
    assert put(body, ACCOUNT | {"properties": shown})["properties"] == {"accessTier": "Hot"}
    for wrong, target in [
        ({"sku": {"nmae": "any"}}, "sku.nmae"),
        ({"sku": {"name": "Standard_XRS"}}, "sku.name"),
        ({"properties": {"minimumTlsVersion": 1.2}}, "properties.minimumTlsVersion"),
        ({"properties": {"networkRuleSet": {}}}, "properties.networkRuleSet"),
        ({"properties": {"networkAcls": {"bypass": "None"}}}, "properties.networkAcls.defaultAction"),
    ]:
        with pytest.raises(ArmError, match="The request content was invalid: ") as refused:
            put(body, ACCOUNT | wrong)
        assert (refused.value.status, refused.value.code, refused.value.target) == (400, "Invalid", target)
