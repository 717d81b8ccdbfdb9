"""Schemas of resources' bodies as Microsoft's clients declare them: management.json, from models in azure-mgmt-*.

tools.azure_schemas.management compiles it and names, for each type, package, version and API version
(tools/azure_schemas/sources.py). A schema is JSON Schema; its `readOnly` lists the members that only responses have.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Schema = Mapping[str, Any]
READ_ONLY = "read only"
READ_ONLY_MEMBER: Schema = {"readOnly": True}
OWN = ("id", "name", "type", "etag", "systemData")
"""Members beside `properties` that the platform sets on every resource."""
_DOT = re.compile(r"(?<!\\)\.")
_FILE = Path(__file__).with_name("management.json")


@dataclass(frozen=True)
class Stricter:
    """Rules beyond a declaration. Paths are those of the API: `properties.rules[].operator`, `properties.x.*.y`.

    Args:
        values: path -> the allowed texts, or a schema.
        required: paths of additional required members.
        more: path -> schema of members that the compiled API version lacks, or READ_ONLY.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


@functools.cache
def _compiled() -> dict[str, Any]:
    return json.loads(_FILE.read_text(encoding="utf-8"))


def types() -> dict[str, str]:
    """Returns lower-case name -> declared spelling of every declared type."""
    return {each.lower(): each for each in _compiled()["types"]}


def schema_of(type_: str) -> Schema:
    """Returns the schema of the body of a PUT.

    Raises:
        KeyError: the type is not declared.
    """
    return resolved({"$ref": _compiled()["types"][types()[type_.lower()]]["$ref"]})


def resolved(schema: Schema) -> Schema:
    """Returns a schema with references and "or null" resolved."""
    while True:
        if "$ref" in schema:
            schema = _compiled()["$defs"][schema["$ref"].rpartition("/")[2]]
        elif "anyOf" in schema:
            schema = schema["anyOf"][0]
        else:
            return schema


def variants(schema: Schema) -> tuple[str, dict[str, Schema]]:
    """Returns the member that distinguishes variants, and value -> schema of each; empty without variants."""
    chosen = schema.get("allOf", ())
    if not chosen:
        return "", {}
    (member,) = schema["properties"]
    return member, {each["if"]["properties"][member]["const"]: each["then"] for each in chosen}


def check(type_: str, stricter: Stricter) -> None:
    """Checks a service's additional rules against the declaration.

    Raises:
        KeyError: the type is not declared.
        ValueError: a path is not declared, or a rule repeats the declaration.
    """
    schema = schema_of(type_)
    for path in stricter.more:
        if _leads(schema, path):
            raise ValueError(f"{type_}: {path} is declared")
        way, _, _ = path.rpartition(".")
        if way and not _leads(schema, way):
            raise ValueError(f"{type_}: {path} is not declared")
    for path in (*stricter.values, *stricter.required):
        if not _leads(schema, path):
            raise ValueError(f"{type_}: {path} is not declared")
    for path, said in stricter.values.items():
        known = [set(each.get("enum", ())) - {None} for each in found(schema, path)]
        if all(known) and isinstance(said, tuple) and all(each == set(said) for each in known):
            raise ValueError(f"{type_}: the values of {path} are declared")
    for path in stricter.required:
        way, _, name = path.rpartition(".")
        if all(name in each.get("required", ()) for each in found(schema, way)):
            raise ValueError(f"{type_}: that {path} is required is declared")


def _leads(schema: Schema, path: str) -> bool:
    return next(found(schema, path), None) is not None


def found(schema: Schema, path: str) -> Iterator[Schema]:
    """Yields the schemas at a path, one for each variant; READ_ONLY_MEMBER for read-only members.

    A dot in a name is written `odata\\.type`.
    """
    schema = resolved(schema)
    if variants(schema)[0]:
        for each in variants(schema)[1].values():
            yield from found(each, path)
        return
    if not path:
        yield schema
        return
    first, *others = _DOT.split(path, maxsplit=1)
    name, rest = first.replace("\\.", "."), "".join(others)
    plain = name.removesuffix("[]")
    inner = schema.get("additionalProperties") if plain == "*" else schema.get("properties", {}).get(plain)
    if inner is None and plain in (*schema.get("readOnly", ()), *OWN) and not rest:
        yield READ_ONLY_MEMBER
    if not isinstance(inner, Mapping):
        return
    if name.endswith("[]"):
        inner = resolved(inner).get("items")
    if isinstance(inner, Mapping):
        yield from found(inner, rest)
