"""Bodies against what Azure says of them: unknown and missing members, types, and what is read-only.

A shape is a mapping of names to what they are: "string", "integer", "number", "boolean", "date", "any", a tuple of the
texts that are allowed, another shape, `Variants`, or a list with the shape of its items. `name!` must be given; `name-`
is the platform's own, and what a caller says of it is passed over, as on Azure; "*" stands for any name. Shapes come
from twins/azure/declared.py; what a `Body` is told besides is what the declarations can't say.
"""

import copy
import functools
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from twins.azure.calls import Call, Document
from twins.azure.declared import Stricter, Variants, shape_of
from twins.azure.errors import ArmError

Shape = Mapping[str, Any]
INVALID = "InvalidRequestContent"
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "date": (str,),
}


class Body:
    """What the body of a PUT of a type may be.

    Args:
        type_: "Microsoft.Storage/storageAccounts".
        values, required, more: see `Stricter`.
        code: the error's, where the type has one of its own.
    """

    def __init__(
        self,
        type_: str,
        *,
        values: Mapping[str, Any] | None = None,
        required: tuple[str, ...] = (),
        more: Mapping[str, Any] | None = None,
        code: str = INVALID,
    ) -> None:
        self.type = type_
        self._stricter = Stricter(values or {}, required, more or {})
        self._code = code

    @functools.cached_property
    def shape(self) -> Shape:
        """Made with the first body: importing a service reads no file."""
        return shape_of(self.type, self._stricter)

    def judged(self, call: Call) -> Document:
        """A copy of a call's body, without what is the platform's own; it has `properties`.

        Raises:
            ArmError: 400, with the path of the first thing that is wrong.
        """
        try:
            return judged(call.body, self.shape)
        except BodyError as wrong:
            raise refused(wrong.message, wrong.path, self._code) from None


def refused(message: str, target: str, code: str = INVALID) -> ArmError:
    """400 for a body."""
    return ArmError(400, code, f"The request content was invalid: {message} Path '{target}'.", target)


class BodyError(Exception):
    """What is wrong with a body, and where."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


def judged(body: Document, shape: Shape) -> Document:
    """A copy of a body that a shape takes, whose `properties` may be left out where nothing in them must be given."""
    return _object(copy.deepcopy(body) | {"properties": body.get("properties") or {}}, shape, "")


def _object(value: Any, shape: Shape, path: str) -> Document:
    if not isinstance(value, dict):
        raise BodyError(f"An object is expected, not {value!r}.", path)
    known = {name.rstrip("!-"): name for name in shape}
    found: Document = {}
    for name, member in value.items():
        written = known.get(name, "*" if "*" in known else "")
        if not written:
            of = path.rpartition(".")[2] or "Resource"
            raise BodyError(f"Could not find member '{name}' on object of type '{of}'.", _inside(path, name))
        if written.endswith("-") or member is None:
            continue
        found[name] = _value(member, shape[written], _inside(path, name))
    for name, written in known.items():
        if written.endswith("!") and name not in found:
            raise BodyError(f"The value of '{name}' is required.", _inside(path, name))
    return found


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _variant(value: Any, variants: Variants, path: str) -> Document:
    told = value.get(variants.member) if isinstance(value, dict) else None
    if told is None:
        raise BodyError(f"The value of '{variants.member}' is required.", _inside(path, variants.member))
    return _object(value, variants.shapes[_one_of(told, tuple(variants.shapes), _inside(path, variants.member))], path)


def _value(value: Any, shape: Any, path: str) -> Any:
    if shape == "any":
        return value
    if isinstance(shape, Variants):
        return _variant(value, shape, path)
    if isinstance(shape, Mapping):
        return _object(value, shape, path)
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise BodyError(f"A list is expected, not {value!r}.", path)
        return [_value(item, shape[0], f"{path}[{i}]") for i, item in enumerate(value)]
    if isinstance(shape, tuple):
        return _one_of(value, shape, path)
    if not isinstance(value, _TYPES[shape]) or (shape != "boolean" and isinstance(value, bool)):
        raise BodyError(f"Error converting value {value!r} to type '{shape}'.", path)
    if shape == "date":
        _check_date(value, path)
    return value


def _one_of(value: Any, allowed: tuple[str, ...], path: str) -> str:
    for each in allowed:
        if isinstance(value, str) and value.lower() == each.lower():
            return each
    raise BodyError(f"The value {value!r} is not one of {', '.join(allowed)}.", path)


def _check_date(value: str, path: str) -> None:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise BodyError(f"The value {value!r} is no date.", path) from None
