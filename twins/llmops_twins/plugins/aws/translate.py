"""Translates between Pulumi's property names and an AWS API's, by botocore's service model and the properties' shapes.

Names are matched by one rule: only letters and digits count, regardless of case; a property may be the plural or
singular of the API's member, or lack a prefix of the kind (`name` is ModelName of a model). Names that the rule doesn't
find are declared as data: property path -> the API's member.
"""

import functools
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from llmops_twins.plugins.aws.rules import Shape
from llmops_twins.plugins.differences import general, member

Renames = Mapping[str, str]


def to_api(properties: Mapping[str, Any], shape: Any, renames: Renames, prefix: str = "") -> dict[str, Any]:
    """Returns a call's parameters: the properties for which botocore's structure `shape` has a member."""
    found = {}
    for name, value in properties.items():
        if value is None or value in ("", [], {}):
            continue
        key = find_member(tuple(shape.members), name, renames.get(name, ""), prefix)
        if key:
            found[key] = _to_api(value, shape.members[key], name, renames)
    return found


def from_api(
    answer: Mapping[str, Any], shapes: Mapping[str, Shape], renames: Renames, prefix: str = ""
) -> dict[str, Any]:
    """Returns the properties in a response."""
    found = {}
    for name, shape in shapes.items():
        key = find_member(tuple(answer), name, renames.get(name, ""), prefix)
        if key and answer[key] is not None:
            found[name] = _from_api(answer[key], shape, name, renames)
    return found


@functools.lru_cache(8192)
def find_member(names: tuple[str, ...], name: str, told: str = "", prefix: str = "") -> str:
    """Returns the API's member for a property; empty if there is none. `told` declares it explicitly: alternatives as
    "A|B", none as "-".
    """
    if told:
        return next((t for t in told.split("|") if t in names), "")
    plain = {_plain(n): n for n in reversed(names)}
    wanted = [_plain(name)]
    if prefix:
        wanted.append(_plain(prefix) + _plain(name))
    for candidate in [*wanted, *(s for w in wanted for s in _other_numbers(w))]:
        if candidate in plain:
            return plain[candidate]
    return ""


def pairs_of(values: Mapping[str, str], shape: Any) -> Any:
    """Returns a map in the API's form: unchanged, or as a list of key-value structures."""
    if shape.type_name == "map":
        return dict(values)
    key, value = _key_and_value(tuple(shape.member.members))
    if shape.member.members[value].type_name == "list":
        return [{key: k, value: [v]} for k, v in values.items()]
    return [{key: k, value: v} for k, v in values.items()]


def map_of(pairs: Any) -> dict[str, Any]:
    """Returns the map in an API's list of pairs."""
    if isinstance(pairs, dict):
        return dict(pairs)
    if not pairs:
        return {}
    key, value = _key_and_value(tuple(sorted({n for pair in pairs for n in pair})))
    return {pair[key]: pair.get(value, "") for pair in pairs}


def _to_api(value: Any, shape: Any, path: str, renames: Renames) -> Any:
    kind = shape.type_name
    if kind == "structure":
        if isinstance(value, list):
            value = value[0]
        found = {}
        for name, inner in value.items():
            inside = member(path, name)
            told = renames.get(inside) or renames.get(general(inside), "")
            key = find_member(tuple(shape.members), name, told)
            if key and inner is not None and inner != "":
                found[key] = _to_api(inner, shape.members[key], inside, renames)
        return found
    if kind == "list":
        if isinstance(value, dict) and shape.member.type_name == "structure" and _is_map(value, shape):
            return pairs_of(value, shape)
        items = value if isinstance(value, list) else [value]
        return [
            _to_api(item, shape.member, f"{path}[]" if isinstance(value, list) else path, renames) for item in items
        ]
    if kind == "map":
        return {name: _to_api(inner, shape.value, f"{path}[]", renames) for name, inner in value.items()}
    return _scalar_to_api(value, kind)


def _scalar_to_api(value: Any, kind: str) -> Any:
    if kind == "string":
        if isinstance(value, bool):
            return str(value).lower()
        return value if isinstance(value, str) else json.dumps(value)
    if kind in ("integer", "long"):
        return int(value)
    if kind in ("float", "double"):
        return float(value)
    if kind == "boolean":
        return value if isinstance(value, bool) else str(value).lower() == "true"
    if kind == "timestamp" and isinstance(value, str):
        return datetime.fromisoformat(value)
    return value


def _from_api(value: Any, shape: Shape, path: str, renames: Renames) -> Any:
    if isinstance(shape, list):
        items = value if isinstance(value, list) else [value]
        return [_from_api(item, shape[0], f"{path}[]", renames) for item in items]
    if isinstance(shape, dict):
        if "*" in shape:
            items = map_of(value)
            return {name: _from_api(inner, shape["*"], f"{path}[]", renames) for name, inner in items.items()}
        if isinstance(value, list):
            value = value[0] if value else {}
        found = {}
        for name, inner in shape.items():
            inside = f"{path}.{name}"
            key = find_member(tuple(value), name, renames.get(inside, ""))
            if key and value[key] is not None:
                found[name] = _from_api(value[key], inner, inside, renames)
        return found
    return scalar_from_api(value, shape)


def scalar_from_api(value: Any, shape: Shape) -> Any:
    """Returns a plain value in the property's type."""
    if isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if shape == "string":
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float):
            return str(value).removesuffix(".0")
        return value if isinstance(value, str) else json.dumps(value)
    if shape == "boolean":
        return value if isinstance(value, bool) else str(value).lower() == "true"
    number = float(value) if isinstance(value, str | Decimal) else value
    return int(number) if float(number).is_integer() else number


def _is_map(value: dict[str, Any], shape: Any) -> bool:
    members = tuple(shape.member.members)
    if len(members) > 3 or not all(isinstance(v, str) for v in value.values()):
        return False
    key, val = _key_and_value(members)
    return bool(key and val) and not all(find_member(members, name) for name in value)


def _key_and_value(names: Iterable[str]) -> tuple[str, str]:
    names = list(names)
    key = next((n for n in names if n.lower() in ("key", "tagkey", "name")), "")
    value = next((n for n in names if n.lower() in ("value", "tagvalue", "values")), "")
    return key, value


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _other_numbers(name: str) -> list[str]:
    found = [name + "s"]
    if name.endswith("ies"):
        found.append(name[:-3] + "y")
    if name.endswith("s"):
        found += [name[:-1], *([name[:-2]] if name.endswith("es") else [])]
    if name.endswith("y"):
        found.append(name[:-1] + "ies")
    return found
