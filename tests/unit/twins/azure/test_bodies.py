"""Bodies against shapes."""

from typing import Any

import pytest

from twins.azure import bodies
from twins.azure.calls import TWIN, Call
from twins.azure.errors import ArmError

SHAPE = {
    "name!": "string",
    "size": "integer",
    "share": "number",
    "on": "boolean",
    "since": "date",
    "mode": ("Fast", "Slow"),
    "parts": [{"id!": "string"}],
    "state-": "",
    "extra": {"*": "string"},
}


def call(properties: Any, **top: Any) -> Call:
    return Call("PUT", "/x", {}, {}, {"properties": properties, **top}, TWIN, "1", "/x", "")


def test_what_is_the_platforms_own_is_passed_over_and_spelling_is_mended() -> None:
    given = call({"name": "a", "state": "Mine", "mode": "fast", "extra": {"any": "thing"}, "size": None}, id="/y")
    assert bodies.judged(given, SHAPE) == {"properties": {"name": "a", "mode": "Fast", "extra": {"any": "thing"}}}
    assert given.body["properties"]["state"] == "Mine"


@pytest.mark.parametrize(
    ("properties", "path"),
    [
        ({}, "properties.name"),
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
        ([], "properties.name"),
    ],
)
def test_the_first_thing_that_is_wrong_is_named(properties: Any, path: str) -> None:
    with pytest.raises(ArmError, match="The request content was invalid") as refused:
        bodies.judged(call(properties), SHAPE)
    assert (refused.value.status, refused.value.target) == (400, path)


def test_members_beside_the_properties() -> None:
    with pytest.raises(ArmError, match="Could not find member 'propreties'"):
        bodies.judged(call({"name": "a"}, propreties={}), SHAPE)
    with pytest.raises(ArmError, match="The value of 'kind' is required"):
        bodies.judged(call({"name": "a"}), SHAPE, top=("kind",))
