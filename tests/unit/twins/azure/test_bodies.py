"""Bodies against shapes."""

from typing import Any

import pytest

from twins.azure import bodies
from twins.azure.bodies import Body, BodyError
from twins.azure.calls import TWIN, Call
from twins.azure.declared import Variants
from twins.azure.errors import ArmError

OBJECT = {
    "name!": "string",
    "size": "integer",
    "share": "number",
    "on": "boolean",
    "since": "date",
    "mode": ("Fast", "Slow"),
    "parts": [{"id!": "string"}],
    "state-": "",
    "extra": {"*": "string"},
    "rule": Variants("kind", {"Static": {"kind": ("Static",), "limit!": "number"}, "Moving": {"kind": ("Moving",)}}),
}
SHAPE = {"properties": OBJECT, "tags": {"*": "string"}, "id-": ""}


def test_what_is_the_platforms_own_is_passed_over_and_spelling_is_mended() -> None:
    given = {"name": "a", "state": "Mine", "mode": "fast", "extra": {"any": "thing"}, "size": None}
    body = {"properties": given, "id": "/y"}
    assert bodies.judged(body, SHAPE) == {"properties": {"name": "a", "mode": "Fast", "extra": {"any": "thing"}}}
    assert body == {"properties": given, "id": "/y"}


@pytest.mark.parametrize(
    ("properties", "path"),
    [
        ({}, "properties.name"),
        (None, "properties.name"),
        ([1], "properties"),
        ({"name": 1}, "properties.name"),
        ({"name": "a", "nmae": 1}, "properties.nmae"),
        ({"name": "a", "size": 1.5}, "properties.size"),
        ({"name": "a", "size": True}, "properties.size"),
        ({"name": "a", "share": "1"}, "properties.share"),
        ({"name": "a", "since": "soon"}, "properties.since"),
        ({"name": "a", "mode": "Middle"}, "properties.mode"),
        ({"name": "a", "parts": {}}, "properties.parts"),
        ({"name": "a", "parts": [{"id": "1"}, {}]}, "properties.parts[1].id"),
        ({"name": "a", "extra": {"any": 1}}, "properties.extra.any"),
        ({"name": "a", "rule": {"limit": 1}}, "properties.rule.kind"),
        ({"name": "a", "rule": {"kind": "Other"}}, "properties.rule.kind"),
        ({"name": "a", "rule": {"kind": "Static"}}, "properties.rule.limit"),
        ({"name": "a", "rule": {"kind": "Moving", "limit": 1}}, "properties.rule.limit"),
    ],
)
def test_the_first_thing_that_is_wrong_is_named(properties: Any, path: str) -> None:
    with pytest.raises(BodyError) as wrong:
        bodies.judged({"properties": properties}, SHAPE)
    assert wrong.value.path == path


def test_members_beside_the_properties() -> None:
    with pytest.raises(BodyError, match="Could not find member 'propreties' on object of type 'Resource'"):
        bodies.judged({"properties": {"name": "a"}, "propreties": {}}, SHAPE)


def test_a_refusal_has_the_code_of_its_type() -> None:
    body = Body("Microsoft.Storage/storageAccounts", values={"kind": ("StorageV2",)}, code="Invalid")
    given: dict[str, Any] = {"kind": "storagev2", "sku": {"name": "any", "tier": "passed over"}}
    call = Call("PUT", "/x", {}, {}, given, TWIN, "1", "/x", "")
    assert body.judged(call) == {"kind": "StorageV2", "sku": {"name": "any"}, "properties": {}}
    given["sku"]["nmae"] = "any"
    with pytest.raises(ArmError, match="The request content was invalid: Could not find member 'nmae'") as refused:
        body.judged(call)
    assert (refused.value.status, refused.value.code, refused.value.target) == (400, "Invalid", "sku.nmae")
