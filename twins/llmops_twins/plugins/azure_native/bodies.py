"""Translates between Pulumi's properties and the bodies of ARM's requests and answers."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from llmops_twins.plugins.azure_native.rules import RAW_PARAMETERS, Definition, Shape, TypeRules, definition
from llmops_twins.plugins.differences import member
from llmops_twins.plugins.plugin import ProviderError
from llmops_twins.plugins.values import UNKNOWN

Properties = dict[str, Any]
_SELF = "$self/"


def resource_id(rules: TypeRules, subscription: str, inputs: Mapping[str, Any]) -> str:
    """Returns the id of a resource with these inputs.

    Raises:
        ProviderError: a part of its path is missing.
    """
    found = rules.path.replace("{subscriptionId}", subscription)
    for parameter, name in rules.parameters.items():
        value = inputs.get(name)
        if not isinstance(value, str) or value == UNKNOWN:
            raise ProviderError(f"expected string value for path parameter '{name}', got {value!r}")
        part = value.strip("/") if parameter in RAW_PARAMETERS else quote(value, safe="$&+:=@")
        found = found.replace(f"{{{parameter}}}", part)
    return found


def path_values(rules: TypeRules, identity: str) -> Properties:
    """Returns the inputs in an id.

    Raises:
        ProviderError: it is not an id of this type.
    """
    parts = [part for part in identity.split("/") if part]
    wanted = [part for part in rules.path.split("/") if part]
    raw = wanted[0].strip("{}") if wanted[0].strip("{}") in RAW_PARAMETERS else ""
    found: Properties = {}
    if raw:
        found[raw] = "/".join(parts[: len(parts) - len(wanted) + 1])
        parts, wanted = parts[len(parts) - len(wanted) + 1 :], wanted[1:]
    if len(parts) != len(wanted):
        raise ProviderError(f"failed to parse '{identity}' against the path '{rules.path}'")
    for part, name in zip(parts, wanted, strict=True):
        if name.startswith("{"):
            found[name.strip("{}")] = unquote(part)
        elif name.lower() != part.lower():
            raise ProviderError(f"failed to parse '{identity}' against the path '{rules.path}'")
    return {name: found[parameter] for parameter, name in rules.parameters.items()}


def to_body(rules: TypeRules, inputs: Mapping[str, Any], identity: str) -> dict[str, Any]:
    """Returns the body with which ARM creates a resource of these inputs, in the API's names."""
    walk = _ToApi(rules.rename, identity)
    body: dict[str, Any] = {}
    for name, shape in rules.body.items():
        if name in inputs:
            place = rules.api_path(name)
            inside = body if len(place) == 1 else body.setdefault("properties", {})
            inside[place[-1]] = walk.value(inputs[name], shape, name)
    return body


def remove_from_sets(
    rules: TypeRules, old_inputs: Mapping[str, Any], inputs: Mapping[str, Any], body: Properties
) -> bool:
    """Sets removed entries of string sets to null in a body. Returns whether there were any.

    ARM merges identity.userAssignedIdentities, so entries that are left out would stay.
    """
    found = False
    for name, shape in rules.body.items():
        if not (isinstance(shape, dict) and "is" in shape):
            continue
        for inner, its in definition(shape["is"]).properties.items():
            if not (isinstance(its, dict) and "set" in its):
                continue
            old, new = (set(at(v, (name, inner)) or ()) for v in (old_inputs, inputs))
            if gone := old - new:
                found = True
                put(body, (*rules.api_path(name), inner), {i: {} for i in sorted(new)} | dict.fromkeys(sorted(gone)))
    return found


def from_body(rules: TypeRules, body: Mapping[str, Any]) -> Properties:
    """Returns the outputs in a response."""
    return _members(body, rules.outputs, rules.rename, "")


def inputs_of(rules: TypeRules, body: Mapping[str, Any], identity: str) -> Properties:
    """Returns the inputs that would produce a response, for an import."""
    shown = _members(body, rules.body, rules.rename, "")
    return {**projected(rules, shown), **path_values(rules, identity)}


def projected(rules: TypeRules, outputs: Mapping[str, Any]) -> Properties:
    """Returns the outputs that are inputs too."""
    return {name: _to_input(outputs[name], shape) for name, shape in rules.body.items() if name in outputs}


def previewed(inputs: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Properties:
    """Returns the outputs before a resource is created: the inputs, and unknown values for everything else."""
    return {name: _preview(inputs[name], shape) if name in inputs else UNKNOWN for name, shape in shapes.items()}


def at(values: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    """Returns the value at a path in an object; None if there is none."""
    found: Any = values
    for name in place:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def put(values: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    """Sets the value at a path in an object, creating objects on the way."""
    for name in place[:-1]:
        values = values.setdefault(name, {})
    values[place[-1]] = value


class _ToApi:
    def __init__(self, rename: Mapping[str, str], identity: str) -> None:
        self._rename = rename
        self._identity = identity

    def value(self, value: Any, shape: Shape, path: str) -> Any:
        if isinstance(shape, list) and isinstance(value, list):
            return [self.value(item, shape[0], f"{path}[]") for item in value]
        if isinstance(value, str) and value.startswith(_SELF) and path.rpartition(".")[2] == "id":
            return f"{self._identity}/{value.removeprefix(_SELF)}"
        if not isinstance(shape, dict):
            return value
        if "set" in shape and isinstance(value, list):
            return {item: {} for item in value}
        if not isinstance(value, dict):
            return value
        if "*" in shape:
            return {name: self.value(item, shape["*"], member(path, name)) for name, item in value.items()}
        known = _fitting(shape, value)
        return self._object(known, value, path) if known else value

    def _object(self, known: Definition, value: Mapping[str, Any], path: str) -> dict[str, Any]:
        body: dict[str, Any] = {}
        for name, shape in known.properties.items():
            if name not in value:
                continue
            inside = f"{path}.{name}"
            target = body if known.top is None or name in known.top else body.setdefault("properties", {})
            target[self._rename.get(inside, name)] = self.value(value[name], shape, inside)
        return body


def _fitting(shape: Mapping[str, Any], value: Mapping[str, Any]) -> Definition | None:
    """Returns the definition that a value fits; None if it is unknown, and stays unchanged."""
    names = [shape["is"]] if "is" in shape else shape.get("one of", [])
    known = [definition(name) for name in names]
    return known[0] if "is" in shape else next((each for each in known if each.fits(value)), None)


def _members(
    body: Mapping[str, Any], shapes: Mapping[str, Shape], rename: Mapping[str, str], path: str
) -> dict[str, Any]:
    """Returns the properties in an object's members; unless it has a property `properties`, those inside `properties`
    count as its own.
    """
    inner = body.get("properties") if "properties" not in shapes else None
    inner = inner if isinstance(inner, Mapping) else {}
    found = {}
    for name, shape in shapes.items():
        here = f"{path}.{name}" if path else name
        key = rename.get(here, name)
        first, second = (inner, body) if here in rename else (body, inner)  # `type` at the top is the resource's own
        value = first.get(key)
        value = second.get(key) if value is None else value
        if value is not None:
            found[name] = _from_api(value, shape, rename, here)
    return found


def _from_api(value: Any, shape: Shape, rename: Mapping[str, str], path: str) -> Any:
    if isinstance(shape, list) and isinstance(value, list):
        return [_from_api(item, shape[0], rename, f"{path}[]") for item in value]
    if not isinstance(shape, dict) or not isinstance(value, dict):
        return value
    if "set" in shape:
        return sorted(value)
    if "*" in shape:
        return {name: _from_api(item, shape["*"], rename, member(path, name)) for name, item in value.items()}
    names = {name: rename[f"{path}.{name}"] for name in _names(shape) if f"{path}.{name}" in rename}
    known = [definition(name) for name in _definitions(shape)]
    fitting = known[0] if "is" in shape else next((each for each in known if each.fits(value, names)), None)
    return _members(value, fitting.properties, rename, path) if fitting else value


def _names(shape: Mapping[str, Any]) -> Iterator[str]:
    for name in _definitions(shape):
        yield from definition(name).properties


def _definitions(shape: Mapping[str, Any]) -> list[str]:
    return [shape["is"]] if "is" in shape else shape.get("one of", [])


def _to_input(value: Any, shape: Shape) -> Any:
    if isinstance(shape, list) and isinstance(value, list):
        return [_to_input(item, shape[0]) for item in value]
    if not isinstance(shape, dict) or not isinstance(value, dict):
        return value
    if "set" in shape:
        return sorted(value)
    if "*" in shape:
        return {name: _to_input(item, shape["*"]) for name, item in value.items()}
    known = _fitting(shape, value)
    if known is None:
        return value
    return {name: _to_input(value[name], inner) for name, inner in known.properties.items() if name in value}


def _preview(value: Any, shape: Shape) -> Any:
    if isinstance(shape, list) and isinstance(value, list):
        return [_preview(item, shape[0]) for item in value]
    if not isinstance(shape, dict):
        return value
    if "*" in shape and isinstance(value, list):
        return UNKNOWN  # a set of names, whose values the API fills in
    if not isinstance(value, dict):
        return value
    if "*" in shape:
        return {name: _preview(item, shape["*"]) for name, item in value.items()}
    known = _fitting(shape, value)
    return previewed(value, known.properties) if known else value
