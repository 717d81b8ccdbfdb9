"""Inputs of a type, made from its shapes."""

from typing import Any

from llmops_twins.plugins.azure_native.bodies import at, put
from llmops_twins.plugins.azure_native.rules import Shape, TypeRules, definition

DEPTH = 4
SCALARS = {"string": "text", "integer": 3, "number": 1.5, "boolean": True, "any": {"free": ["words"]}}
GUID = "00000000-0000-0000-0000-000000000001"
IDENTITY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"


def minimal(known: TypeRules) -> dict[str, Any]:
    """What must be given, and no more."""
    return _kept(known, {name: _value(known.inputs[name], name, whole=False) for name in sorted(known.required)})


def whole(known: TypeRules) -> dict[str, Any]:
    """Every input, and every member down to some depth."""
    return _kept(known, {name: _value(shape, name, whole=True) for name, shape in known.inputs.items()})


def _kept(known: TypeRules, inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs that keep the type's limits."""
    for path, limits in known.limits.items():
        place = tuple(path.split("."))
        if at(inputs, place) is not None:
            put(inputs, place, within(limits))
    return inputs


def within(limits: dict[str, Any]) -> Any:
    """A value that keeps limits."""
    if "least" in limits:
        return limits["least"]
    return GUID if limits.get("shortest") == len(GUID) else "texts"


def beyond(limits: dict[str, Any]) -> list[Any]:
    """Values that break one limit each."""
    broken: list[Any] = ["a" * (limits["shortest"] - 1)] if "shortest" in limits else []
    broken += ["a" * (limits["longest"] + 1)] if "longest" in limits else []
    broken += ["a b"] if "pattern" in limits else []
    broken += [limits["least"] - 1] if "least" in limits else []
    return broken + ([limits["most"] + 1] if "most" in limits else [])


def other(value: Any) -> Any:
    """Another value of the same shape."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "-other"
    if isinstance(value, list):
        return [*value, *value] if value else ["more"]
    return {**value, "more": "more"}


def _value(shape: Shape, name: str, *, whole: bool, depth: int = 0) -> Any:
    if isinstance(shape, list):
        return [_value(shape[0], name, whole=whole, depth=depth)] if whole else []
    if not isinstance(shape, dict):
        return "scope/of" if name in ("scope", "resourceUri") else SCALARS[shape]
    if "const" in shape:
        return shape["const"]
    if "set" in shape:
        return [IDENTITY] if whole else []
    if "*" in shape:
        return {"key": _value(shape["*"], name, whole=whole, depth=depth)} if whole else {}
    known = definition(shape["is"] if "is" in shape else shape["one of"][0])
    return {
        inner: _value(its, inner, whole=whole and depth < DEPTH, depth=depth + 1)
        for inner, its in known.properties.items()
        if inner in known.required or (whole and depth < DEPTH)
    }
