"""Every type of types.json: its URL and body, what Check fills in and refuses, what replaces, and a whole life."""

import copy
import json
from typing import Any

import pytest

from llmops_twins.plugins.azure_native import bodies
from llmops_twins.plugins.azure_native.checks import CREATE_FIRST, VERSION
from llmops_twins.plugins.azure_native.rules import FOLDER, TypeRules, actions, definition, rules, tokens
from llmops_twins.plugins.plugin import Naming, ProviderError
from llmops_twins.plugins.values import UNKNOWN
from twins.tests.unit.plugins.azure_native import samples
from twins.tests.unit.plugins.azure_native.tiny_arm import GROUP, SUBSCRIPTION, TinyArm, provider, request

NAMING = Naming(seed=b"seed")
every = pytest.mark.parametrize("token", tokens())


def with_group(known: TypeRules, inputs: dict[str, Any]) -> dict[str, Any]:
    return inputs | {n: "group" for n in ("resourceGroupName",) if n in inputs and n != known.named}


def located_by_group(known: TypeRules) -> bool:
    return "location" in known.body and "resourceGroupName" in known.required


def checked(token: str, news: dict[str, Any], olds: dict[str, Any] | None = None) -> dict[str, Any]:
    inputs, failures = provider().check(request(TinyArm(), token), olds or {}, news, NAMING)
    assert failures == []
    return inputs


@every
def test_what_is_said_of_a_type_is_there(token: str) -> None:
    known = rules(token)
    assert known.top is None or known.top <= set(known.body)
    paths = (*known.replace, *known.maintained, *known.defaults, *known.defaults_on_removal, *known.limits)
    for path in (*known.rename, *paths):
        assert shape_at(known, path) is not None, path
    assert set(known.query) <= set(known.inputs)
    assert set(known.parameters.values()) <= set(known.inputs)


def test_objects_that_are_flattened_are_there() -> None:
    for name, top in json.loads((FOLDER / "types.json").read_text())["_flattened"].items():
        assert set(top) <= set(definition(name).properties), name
    for token, _ in actions().values():
        assert token in tokens()


@every
def test_the_least_is_taken_and_each_part_of_it_is_required(token: str) -> None:
    known = rules(token)
    least = with_group(known, samples.minimal(known))
    inputs = checked(token, least)
    assert inputs[VERSION] == known.api_version
    assert checked(token, least, inputs) == inputs
    for name in known.required - ({"location"} if located_by_group(known) else set()):
        _, failures = provider().check(
            request(TinyArm(), token), {}, {n: v for n, v in least.items() if n != name}, NAMING
        )
        assert [f.reason.partition(".")[0] for f in failures] == [f"missing required property '{name}'"]


@every
def test_a_name_is_made_as_the_type_has_it(token: str) -> None:
    known = rules(token)
    inputs = checked(token, with_group(known, samples.minimal(known)))
    name = inputs[known.named]
    if known.autoname == "copy":
        assert name == "one"
    else:
        assert len(name) == {"uuid": 36, "random": len("one") + 8}[known.autoname]
    assert (CREATE_FIRST in inputs) == (known.autoname != "copy")


@every
def test_a_location_comes_from_the_group(token: str) -> None:
    known = rules(token)
    if located_by_group(known):
        least = with_group(known, samples.minimal(known))
        least.pop("location", None)
        assert checked(token, least)["location"] == "westeurope"
        _, failures = provider().check(request(TinyArm(kept={}), token), {}, least, NAMING)
        assert bool(failures) == ("location" in known.required)
    else:
        assert "location" not in known.body or token == "azure-native:resources:ResourceGroup"


@pytest.mark.parametrize("token", [t for t in tokens() if rules(t).limits])
def test_limits_are_kept(token: str) -> None:
    known = rules(token)
    for path, limits in known.limits.items():
        place = tuple(path.split("."))
        for value in [samples.within(limits), *samples.beyond(limits)]:
            inputs = with_group(known, samples.minimal(known))
            bodies.put(inputs, place, value)
            _, failures = provider().check(request(TinyArm(), token), {}, inputs, NAMING)
            reasons = [f.reason for f in failures if f.reason.startswith(f"'{path}' ")]
            assert bool(reasons) == (value != samples.within(limits)), (path, value)


@every
def test_everything_goes_out_and_comes_back(token: str) -> None:
    known = rules(token)
    inputs = with_group(known, samples.whole(known))
    identity = bodies.resource_id(known, SUBSCRIPTION, inputs)
    assert "{" not in identity
    body = json.loads(json.dumps(bodies.to_body(known, inputs, identity)))
    back = bodies.inputs_of(known, {"id": identity, **body}, identity)
    assert back == {n: v for n, v in inputs.items() if n not in known.query}


@every
def test_only_what_is_said_replaces(token: str) -> None:
    known = rules(token)
    inputs = with_group(known, samples.whole(known))
    for name, value in inputs.items():
        news = copy.deepcopy(inputs) | {name: samples.other(value)}
        changes = provider().diff(request(TinyArm(), token), inputs, {}, news).changes
        assert changes, name
        expected = name in known.replace or name in known.parameters.values()
        assert all(change.replaces == expected for change in changes.values()), name


@every
def test_a_whole_life(token: str) -> None:
    arm, plugin, known = TinyArm(), provider(), rules(token)
    call = request(arm, token)
    inputs = plugin.check(call, {}, with_group(known, samples.minimal(known)), NAMING)[0]
    arm.methods()
    identity, state = plugin.create(call, inputs)
    assert arm.methods() == ["GET", "PUT", "GET"]
    assert identity == bodies.resource_id(known, SUBSCRIPTION, inputs)
    assert state[VERSION] == known.api_version
    if known.singleton:
        assert plugin.create(call, inputs)[0] == identity
    else:
        with pytest.raises(ProviderError, match="cannot create already existing resource"):
            plugin.create(call, inputs)
    assert plugin.diff(call, inputs, state, inputs).changes == {}
    assert plugin.read(call, identity, state, inputs) == (identity, state, inputs)
    imported = plugin.read(call, identity, {}, {})
    assert imported
    assert set(known.parameters.values()) <= set(imported[2])
    arm.methods()
    assert plugin.update(call, identity, state, inputs, inputs) == state
    assert [m for m in arm.methods() if m != "GET"] == ["PUT"]
    if not known.data_plane_delete:
        plugin.delete(call, identity, state)
        assert (identity in arm.kept) == known.singleton
        plugin.delete(call, identity, state)
        assert (plugin.read(call, identity, state, inputs) is None) != known.singleton


@every
def test_a_preview_knows_what_is_given(token: str) -> None:
    known = rules(token)
    inputs = with_group(known, samples.whole(known)) | {"location": "westeurope"}
    outputs = provider().preview(request(TinyArm(), token), inputs, {}, {})
    assert set(outputs) == {*known.outputs, VERSION}
    for name, value in outputs.items():
        if name not in inputs and name != VERSION:
            assert value == UNKNOWN, name
        elif known.outputs.get(name) == "string":
            assert value == inputs[name]


def shape_at(known: TypeRules, path: str) -> Any:
    """The shape of an input or, where none has the name, of an output; None: there is neither."""
    first, *rest = path.replace("[]", ".[]").split(".")
    shape: Any = known.inputs.get(first, known.outputs.get(first))
    for step in rest:
        if step == "[]":
            shape = shape[0] if isinstance(shape, list) else None
        else:
            names = [shape["is"]] if "is" in shape else shape.get("one of", [])
            shape = next((s for n in names if (s := definition(n).properties.get(step)) is not None), None)
        if shape is None:
            return None
    return shape


@pytest.mark.parametrize(
    ("token", "inputs", "body"),
    [
        (
            "azure-native:storage:StorageAccount",
            {"encryption": {"encryptionIdentity": {"encryptionUserAssignedIdentity": "one"}}},
            {"properties": {"encryption": {"identity": {"userAssignedIdentity": "one"}}}},
        ),
        (
            "azure-native:keyvault:Secret",
            {"properties": {"attributes": {"expires": 3}}},
            {"properties": {"attributes": {"exp": 3}}},
        ),
        (
            "azure-native:applicationinsights:Component",
            {"applicationType": "web", "connectionString": "some"},
            {"properties": {"Application_Type": "web"}},
        ),
    ],
)
def test_the_api_has_names_of_its_own(token: str, inputs: dict[str, Any], body: dict[str, Any]) -> None:
    assert bodies.to_body(rules(token), inputs, "/id") == body


def test_an_answer_is_read_by_the_apis_names() -> None:
    answer = {"properties": {"ConnectionString": "some", "AppId": "one"}}
    shown = bodies.from_body(rules("azure-native:applicationinsights:Component"), answer)
    assert shown == {"connectionString": "some", "appId": "one"}
    key = bodies.from_body(rules("azure-native:keyvault:Key"), {"properties": {"attributes": {"exp": 3}}})
    assert key == {"attributes": {"expires": 3}}


def test_the_group_is_where_it_is_put() -> None:
    assert bodies.path_values(rules("azure-native:resources:ResourceGroup"), GROUP) == {"resourceGroupName": "group"}
