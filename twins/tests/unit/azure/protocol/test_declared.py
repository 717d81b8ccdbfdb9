"""Bodies as Microsoft's clients declare them, against the stand-in plugin's own table and what services say besides."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure import services
from llmops_twins.azure.monitor import services as monitor
from llmops_twins.azure.protocol import body_checks, declared
from llmops_twins.azure.protocol.body_checks import Body, BodyError
from llmops_twins.azure.protocol.declared import READ_ONLY, Stricter, check, found, resolved, schema_of
from llmops_twins.plugins.azure_native.bodies import to_body
from llmops_twins.plugins.azure_native.rules import rules
from tests.support.checkout import CHECKOUT
from tests.support.clouds.azure import local_twin
from tools.azure_schemas.sources import SOURCES
from twins.tests.unit.azure.plugin_table import Entry, entries, types
from twins.tests.unit.plugins.azure_native import samples

# Judged by the schemas of azure-ai-ml.
ELSEWHERE = ("microsoft.machinelearningservices/",)
# No client has models near azure-native's version of the API; neither the kit nor the twin has one.
UNCOMPILED = {"Microsoft.Portal/dashboards"}
TABLE = sorted(each for each in types() if not each.lower().startswith(ELSEWHERE) and each not in UNCOMPILED)
# azure-native declares an object of several versions once: these came with later ones than the type's own.
LATER = ("serviceGateway",)
# azure-native calls a number what Azure's models have as a whole number.
WHOLE = {
    "properties.attributes.exp",
    "properties.attributes.nbf",
    "properties.severity",
    "properties.criteria.allOf[].failingPeriods.minFailingPeriodsToAlert",
    "properties.criteria.allOf[].failingPeriods.numberOfEvaluationPeriods",
}
# What AutoRest's Python clients drop, because `properties` itself is optional: of types that the twin does not have, or
# of objects in others that are references there.
DROPPED = {
    "Microsoft.Insights/workbooks": {"category", "displayName", "serializedData"},
    "Microsoft.Insights/activityLogAlerts": {"actions", "condition", "scopes"},
    "Microsoft.Network/networkSecurityGroups/securityRules": {"access", "direction", "priority", "protocol"},
    "Microsoft.Network/virtualNetworks": {"access", "direction", "protocol", "nextHopType"},
    "Microsoft.Network/virtualNetworks/subnets": {"access", "direction", "protocol", "nextHopType"},
    "Microsoft.Network/privateEndpoints": {"access", "direction", "protocol", "nextHopType"},
}
KINDS = {"array": "list"}
every = pytest.mark.parametrize("type_", TABLE)


def written() -> list[Body]:
    """The bodies that services judge by."""
    modules = [
        importlib.import_module(f"{room.__name__}.{m.name}")
        for room in (services, monitor)
        for m in pkgutil.iter_modules(room.__path__)
    ]
    values = [value for module in modules for value in vars(module).values()]
    values += [inner for value in values if isinstance(value, dict) for inner in value.values()]
    return list({id(each): each for each in values if isinstance(each, Body)}.values())


def besides(type_: str) -> Stricter:
    """What the twin says of a type besides the declaration."""
    return next((each.stricter for each in written() if each.type == type_), Stricter())


def kind_of(schema: Any) -> str:
    """In the words of the table."""
    schema = resolved(schema)
    if schema is declared.READ_ONLY_MEMBER:
        return "shown"
    if "enum" in schema:
        return "string"
    kind = schema.get("type", "any")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object" and not schema.get("properties") and isinstance(schema.get("additionalProperties"), dict):
        return "map"
    return KINDS.get(kind, kind)


def all_entries(type_: str) -> list[Entry]:
    return list(dict.fromkeys(entries(types()[type_])))


def added(path: str, stricter: Stricter) -> bool:
    """Is a path, or what it lies in, among what the twin knows of a later version?"""
    return any(path == each or path.startswith((f"{each}.", f"{each}[")) for each in stricter.more)


@every
def test_all_that_the_plugins_table_has_is_declared_by_azure_with_its_type(type_: str) -> None:
    schema, stricter = schema_of(type_), besides(type_)
    wrong = []
    for entry in all_entries(type_):
        kinds = {kind_of(each) for each in found(schema, entry.path)}
        if entry.kind == "shown" or "shown" in kinds:  # answers alone have it: Azure passes over what is sent
            wrong += [] if kinds else [f"{entry.path}: only answers have it, by the table alone"]
        elif not kinds:
            later = any(f".{name}" in entry.path for name in LATER) or added(entry.path, stricter)
            inside = any("shown" in {kind_of(each) for each in found(schema, way)} for way in ways(entry.path))
            wrong += [] if later or inside else [f"{entry.path}: nobody but the table has it"]
        elif entry.kind not in kinds and not (entry.path in WHOLE and kinds == {"integer"}):
            wrong.append(f"{entry.path}: {entry.kind} in the table, {kinds} in Azure's models")
    assert not wrong


def ways(path: str) -> list[str]:
    """The paths of what a path lies in; of lists too, and their items."""
    parts = path.split(".")
    whole = [".".join(parts[:count]) for count in range(1, len(parts))]
    return [*whole, *(each.removesuffix("[]") for each in whole), path.removesuffix("[]")]


@every
def test_what_the_plugins_table_requires_azure_does_and_the_reverse(type_: str) -> None:
    schema, stricter = schema_of(type_), besides(type_)
    dropped, wrong = DROPPED.get(type_, set()), []
    for entry in all_entries(type_):
        way, _, name = entry.path.rpartition(".")
        at = [resolved(each) for each in found(schema, way)]
        if not at or entry.kind == "shown" or name.endswith("[]") or name == "*" or entry.constants:
            continue
        needed = [name in each.get("required", ()) for each in at]
        if entry.required and not any(needed) and entry.path not in stricter.required and name not in dropped:
            wrong.append(f"{entry.path}: only the table requires it")
        if not entry.required and all(needed) and name not in ("properties", "location"):
            wrong.append(f"{entry.path}: only Azure requires it")
    assert not wrong


@every
def test_words_that_tell_objects_apart_are_azures(type_: str) -> None:
    schema = schema_of(type_)
    for entry in all_entries(type_):
        if entry.constants:
            known = {word for each in found(schema, entry.path) for word in each.get("enum", entry.constants)}
            assert entry.constants <= known, entry


def test_an_error_in_the_table_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each kind: a name, a type, a place, what is required."""
    known = rules("azure-native:storage:StorageAccount")
    for change, test in [
        ({"inputs": {**known.inputs, "acessTier": "string"}}, 0),
        ({"inputs": {**known.inputs, "minimumTlsVersion": "integer"}}, 0),
        ({"rename": {**known.rename, "networkRuleSet": "networkRuleSet"}}, 0),
        ({"top": (known.top or frozenset()) - {"sku"}}, 0),
        ({"outputs": {**known.outputs, "keyCreationTimes": "string"}}, 0),
        ({"required": known.required - {"kind"}}, 1),
        ({"required": known.required | {"accessTier"}}, 1),
    ]:
        broken = type(known)(**{**vars(known), **change})
        monkeypatch.setattr("twins.tests.unit.azure.plugin_table.rules", lambda _token, broken=broken: broken)
        tests = (
            test_all_that_the_plugins_table_has_is_declared_by_azure_with_its_type,
            test_what_the_plugins_table_requires_azure_does_and_the_reverse,
        )
        with pytest.raises(AssertionError):
            tests[test]("Microsoft.Storage/storageAccounts")


@every
def test_nothing_else_is_taken(type_: str) -> None:
    body = to_body(rules(types()[type_]), samples.minimal(rules(types()[type_])), "/id")
    with pytest.raises(BodyError, match="Could not find member 'mistyped'") as wrong:
        body_checks.judged({"mistyped": 1, **body}, schema_of(type_))
    assert wrong.value.path == "mistyped"


def test_services_say_only_what_the_declarations_do_not(tmp_path: Path) -> None:
    for body in written():
        assert body.schema, body.type  # it raises where a path is not declared, or is already
    put = {each.type.lower() for each in local_twin(tmp_path).kinds.values() if each.put}
    assert {each.type.lower() for each in written()} == put & declared.types().keys()
    unknown = sorted(each for each in put - declared.types().keys() if not each.startswith(ELSEWHERE))
    assert unknown == ["microsoft.keyvault/locations/deletedvaults"], "nobody puts these: each is refused"


@pytest.mark.parametrize(
    ("stricter", "said"),
    [
        (Stricter(values={"properties.kind": ("a",)}), "properties.kind is not declared"),
        (Stricter(values={"kind": ("Storage", "StorageV2", "BlobStorage", "FileStorage", "BlockBlobStorage")}), "the "),
        (Stricter(required=("properties.encryption.keyname",)), "properties.encryption.keyname is not declared"),
        (Stricter(required=("sku.name",)), "that sku.name is required is declared"),
        (Stricter(more={"properties.accessTier": {"type": "string"}}), "properties.accessTier is declared"),
        (Stricter(more={"properties.none.such": READ_ONLY}), "properties.none.such is not declared"),
    ],
)
def test_a_wrong_word_besides_the_declaration_is_found(stricter: Stricter, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check("Microsoft.Storage/storageAccounts", stricter)


def test_the_sources_name_where_their_version_differs_from_the_plugins() -> None:
    for source in SOURCES.values():
        for type_ in source.types:
            wanted = rules(types()[type_]).api_version
            assert (source.wanted or source.api) == wanted, type_


@pytest.mark.long
def test_the_schemas_are_what_the_clients_models_compile_to(tmp_path: Path) -> None:
    compiling = [sys.executable, "-m", "tools.azure_schemas.management", str(tmp_path / "compiled.json")]
    subprocess.run(compiling, cwd=CHECKOUT, check=True, timeout=1200)
    assert (tmp_path / "compiled.json").read_text() == (
        CHECKOUT / "twins/llmops_twins/azure/protocol/management.json"
    ).read_text()
