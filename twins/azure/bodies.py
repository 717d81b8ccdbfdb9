"""Bodies against what Azure's REST reference says of them: unknown and missing members, types, and what is read-only.

A shape is a mapping of names to what they are: "string", "integer", "number", "boolean", "date", "any", a tuple of the
texts that are allowed, another shape, or a list with the shape of its items. `name!` must be given; `name-` is the
platform's own, and what a caller says of it is passed over, as on Azure; "*" stands for any name.
"""

import copy
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from twins.azure.calls import Call, Document
from twins.azure.errors import ArmError

Shape = Mapping[str, Any]
TOP = ("id", "name", "type", "location", "tags", "identity", "sku", "kind", "systemData", "etag", "eTag", "managedBy")
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "date": (str,),
}


def judged(call: Call, properties: Shape, top: tuple[str, ...] = ()) -> Document:
    """A copy of a call's body, without what is the platform's own.

    Args:
        call: a PUT.
        properties: the shape of `properties`.
        top: members beside `properties` that must be given.

    Raises:
        ArmError: 400, with the path of the first thing that is wrong.
    """
    body = copy.deepcopy(call.body)
    for name in body:
        if name not in (*TOP, "properties", "zones", "extendedLocation"):
            raise refused(f"Could not find member '{name}' on object of type 'Resource'.", name)
    for name in top:
        if body.get(name) in (None, ""):
            raise refused(f"The value of '{name}' is required.", name)
    body["properties"] = _object(body.get("properties") or {}, properties, "properties")
    if not isinstance(body.get("tags", {}), dict):
        raise refused("The tags must be an object of texts.", "tags")
    return {name: value for name, value in body.items() if name not in ("id", "name", "type", "systemData")}


def refused(message: str, target: str, code: str = "InvalidRequestContent") -> ArmError:
    """400 for a body."""
    return ArmError(400, code, f"The request content was invalid: {message} Path '{target}'.", target)


def _object(value: Any, shape: Shape, path: str) -> Document:
    if not isinstance(value, dict):
        raise refused(f"An object is expected, not {value!r}.", path)
    known = {name.rstrip("!-"): name for name in shape}
    found: Document = {}
    for name, member in value.items():
        written = known.get(name, "*" if "*" in known else "")
        if not written:
            raise refused(
                f"Could not find member '{name}' on object of type '{path.rpartition('.')[2]}'.", f"{path}.{name}"
            )
        if written.endswith("-") or member is None:
            continue
        found[name] = _value(member, shape[written], f"{path}.{name}")
    for name, written in known.items():
        if written.endswith("!") and name not in found:
            raise refused(f"The value of '{name}' is required.", f"{path}.{name}")
    return found


def _value(value: Any, shape: Any, path: str) -> Any:
    if shape == "any":
        return value
    if isinstance(shape, Mapping):
        return _object(value, shape, path)
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise refused(f"A list is expected, not {value!r}.", path)
        return [_value(item, shape[0], f"{path}[{i}]") for i, item in enumerate(value)]
    if isinstance(shape, tuple):
        return _one_of(value, shape, path)
    if not isinstance(value, _TYPES[shape]) or (shape != "boolean" and isinstance(value, bool)):
        raise refused(f"Error converting value {value!r} to type '{shape}'.", path)
    if shape == "date":
        _check_date(value, path)
    return value


def _one_of(value: Any, allowed: tuple[str, ...], path: str) -> str:
    for each in allowed:
        if isinstance(value, str) and value.lower() == each.lower():
            return each
    raise refused(f"The value {value!r} is not one of {', '.join(allowed)}.", path)


def _check_date(value: str, path: str) -> None:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise refused(f"The value {value!r} is no date.", path) from None
