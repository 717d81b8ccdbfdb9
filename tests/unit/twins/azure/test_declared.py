"""Bodies as azure-native declares them: every type, what the stand-in plugin sends, and what services say besides."""

import copy
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.azure import local_twin
from tests.unit.twins.providers.azure_native import samples
from twins.azure import bodies, services
from twins.azure.bodies import Body, BodyError
from twins.azure.declared import READ_ONLY, Stricter, shape_of, types
from twins.providers.azure_native.bodies import to_body
from twins.providers.azure_native.rules import definition, rules

OWN = ("id", "name", "type", "etag")
# Judged by the schemas of azure-ai-ml.
ELSEWHERE = ("microsoft.machinelearningservices/",)
JUDGED = sorted(each for each in types() if not each.startswith(ELSEWHERE))
every = pytest.mark.parametrize("type_", JUDGED)


def sent(type_: str, *, whole: bool) -> dict[str, Any]:
    """What the plugin puts for a program that gives every input, or no more than it must."""
    known = rules(types()[type_])
    inputs = samples.whole(known) if whole else samples.minimal(known)
    return to_body(known, inputs, "/id")


def objects(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in a body that has names of Azure's, with its path."""
    if isinstance(value, list):
        for item in value:
            yield from objects(item, f"{path}[]")
    elif isinstance(value, dict) and "key" not in value and "free" not in value and samples.IDENTITY not in value:
        yield path, value
        for name, inner in value.items():
            yield from objects(inner, f"{path}.{name}")


@every
def test_all_that_azure_native_declares_is_taken(type_: str) -> None:
    shape = shape_of(type_, Stricter())
    body = sent(type_, whole=True)
    assert not set(body) - set(bodies.judged(body, shape)) - {*OWN, "properties"}
    assert body.get("properties", {}).keys() == bodies.judged(body, shape)["properties"].keys()
    bodies.judged(sent(type_, whole=False), shape)


@every
def test_nothing_else_is_taken_anywhere(type_: str) -> None:
    shape = shape_of(type_, Stricter())
    count = len(list(objects(sent(type_, whole=True))))
    for index in range(count):
        body = sent(type_, whole=True)
        path, value = list(objects(body))[index]
        value["mistyped"] = 1
        with pytest.raises(BodyError, match="Could not find member 'mistyped'") as wrong:
            bodies.judged(body, shape)
        assert wrong.value.path.replace("[0]", "[]") == f"{path}.mistyped".lstrip(".")


@every
def test_what_must_be_given_is_missed(type_: str) -> None:
    shape, known = shape_of(type_, Stricter()), rules(types()[type_])
    for name in known.required - set(known.parameters.values()) - {"location"}:
        place = known.api_path(name)
        body = sent(type_, whole=False)
        inside = body if len(place) == 1 else body["properties"]
        del inside[place[-1]]
        if name != "properties":  # then the first thing in it is missed
            with pytest.raises(BodyError, match=f"The value of '{place[-1]}' is required"):
                bodies.judged(body, shape)


@every
def test_what_only_answers_have_is_passed_over(type_: str) -> None:
    known, body = rules(types()[type_]), sent(type_, whole=False)
    shape = shape_of(type_, Stricter())
    taken = bodies.judged(body, shape)
    answer = copy.deepcopy(body)
    answer |= dict.fromkeys((*OWN, "systemData"), "shown")
    only = known.outputs.keys() - known.body.keys() - {"properties", *OWN, "systemData"}
    if "properties" in known.body:
        only -= definition(known.body["properties"]["is"]).properties.keys()
    beside = {"location", "tags", "identity", "sku", "kind", "zones", "managedBy", "extendedLocation"}
    for name in only:
        place = answer if name in beside else answer.setdefault("properties", {})
        place[known.rename.get(name, name)] = "shown"
    assert bodies.judged(answer, shape) == taken


def test_objects_in_objects_have_what_only_answers_have_too() -> None:
    shape = shape_of("Microsoft.Network/virtualNetworks", Stricter())
    group = {"id": "/group", "type": "shown", "properties": {"flushConnection": True, "subnets": []}}
    subnet = {"name": "one", "etag": "1", "properties": {"purpose": "shown", "networkSecurityGroup": group}}
    taken = bodies.judged({"properties": {"subnets": [subnet]}}, shape)["properties"]["subnets"][0]
    kept = {"id": "/group", "properties": {"flushConnection": True}}
    assert taken == {"name": "one", "etag": "1", "properties": {"networkSecurityGroup": kept}}


def test_an_object_needs_its_properties_where_something_in_them_is_needed() -> None:
    shape = shape_of("Microsoft.Network/networkSecurityGroups", Stricter())
    with pytest.raises(BodyError, match="The value of 'properties' is required") as wrong:
        bodies.judged({"properties": {"securityRules": [{"name": "one"}]}}, shape)
    assert wrong.value.path == "properties.securityRules[0].properties"


def written() -> list[Body]:
    """The bodies that services judge by."""
    modules = [
        importlib.import_module(f"{services.__name__}.{m.name}") for m in pkgutil.iter_modules(services.__path__)
    ]
    found = [value for module in modules for value in vars(module).values()]
    found += [inner for value in found if isinstance(value, dict) for inner in value.values()]
    return list({id(each): each for each in found if isinstance(each, Body)}.values())


def test_services_say_only_what_the_declarations_do_not(tmp_path: Path) -> None:
    for body in written():
        assert body.shape, body.type  # it raises where a path is not declared, or is already
    put = {each.type.lower() for each in local_twin(tmp_path).kinds.values() if each.put}
    assert {each.type.lower() for each in written()} == put & set(JUDGED)
    unknown = sorted(each for each in put - set(JUDGED) if not each.startswith(ELSEWHERE))
    assert unknown == ["microsoft.keyvault/locations/deletedvaults"], "nobody puts these: each is refused"


@pytest.mark.parametrize(
    ("stricter", "said"),
    [
        (Stricter(values={"properties.kind": ("a",)}), "properties.kind is not declared"),
        (Stricter(required=("properties.encryption.keyname",)), "properties.encryption.keyname is not declared"),
        (Stricter(more={"properties.accessTier": "string"}), "properties.accessTier is declared"),
        (Stricter(more={"properties.none.such": READ_ONLY}), "properties.none.such is not declared"),
    ],
)
def test_a_wrong_word_besides_the_declaration_is_found(stricter: Stricter, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        shape_of("Microsoft.Storage/storageAccounts", stricter)


def test_types_are_read_from_their_urls() -> None:
    assert types()["microsoft.resources/resourcegroups"] == "azure-native:resources:ResourceGroup"
    assert types()["microsoft.insights/diagnosticsettings"] == "azure-native:monitor:DiagnosticSetting"
