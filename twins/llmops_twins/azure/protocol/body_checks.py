"""Validates bodies: unknown and missing members, types, allowed texts, limits, and read-only members.

Schemas come from `declared`; the arguments of a `Body` add rules that the declarations can't express. As on Azure,
members that only responses have are ignored, and null counts as absent. Enumeration values are accepted in any case and
kept in the declared one.

Error messages are those of Resource Manager for a body that its deserializer rejects, as in
https://github.com/Azure/azure-sdk-for-net/issues/3487.

Unsure (70 %): not every provider refuses unknown members, and some have their own messages (Key Vault: "Bad JSON
content found in the request.", https://github.com/Azure/azure-resource-manager-schemas/issues/1378); the clients don't
say which enumerations are open, and a text may be taken for a number.
"""

import copy
import functools
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.declared import OWN, READ_ONLY, Schema, Stricter, check, resolved, schema_of, variants

INVALID = "InvalidRequestContent"
TEXT: Schema = {"type": "string"}
DATE: Schema = {"type": "string", "format": "date-time"}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_DURATION = re.compile(r"P(?=.)(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?")


class Body:
    """The rules for the body of a type's PUT.

    Args:
        type_: "Microsoft.Storage/storageAccounts".
        values, required, more: see `Stricter`.
        code: the error code, if the type has one of its own.
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
        self.stricter = Stricter(values or {}, required, more or {})
        self._code = code

    @functools.cached_property
    def schema(self) -> Schema:
        """The schema, read on first use so that importing a service reads no file."""
        check(self.type, self.stricter)
        return schema_of(self.type)

    def judged(self, call: ArmCall) -> Document:
        """Returns a validated copy of a call's body, without members that only the platform sets; it always has
        `properties`.

        Raises:
            ArmError: 400, with the path of the first invalid value.
        """
        try:
            return judged(call.body, self.schema, self.stricter)
        except BodyError as wrong:
            raise refused(wrong.message, wrong.path, self._code) from None


def refused(message: str, target: str, code: str = INVALID) -> ArmError:
    """Returns the 400 for an invalid body."""
    return ArmError(400, code, f"The request content was invalid: {message} Path '{target}'.", target)


class BodyError(Exception):
    """Error for an invalid body, with the path of the invalid value."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


def judged(body: Document, schema: Schema, stricter: Stricter | None = None) -> Document:
    """Returns a copy of a body that fits a schema; `properties` may be missing if nothing in them is required."""
    whole = copy.deepcopy(body) | {"properties": body.get("properties") or {}}
    own = {*schema.get("readOnly", ()), *OWN} - schema.get("properties", {}).keys()
    # Without `location`: ARM itself checks whether it is required.
    location = [name for name in schema.get("required", ()) if name != "location"]
    properties = {"properties": {}, **schema.get("properties", {})}
    top = {**schema, "properties": properties, "required": location, "readOnly": sorted(own)}
    return _Judge(stricter or Stricter()).value(whole, top, "", "")


class _Judge:
    """Validates a body recursively: `path` is the position in it, `way` the same without indexes and free names
    (`rules[].x`, `tags.*`).
    """

    def __init__(self, stricter: Stricter) -> None:
        self._stricter = stricter

    def value(self, value: Any, schema: Schema, path: str, way: str) -> Any:
        schema = resolved(schema)
        told = self._stricter.values.get(way)
        if isinstance(told, tuple):
            return _one_of(value, told, path)
        schema = told if told is not None else schema
        if "enum" in schema:
            return _one_of(value, tuple(each for each in schema["enum"] if each is not None), path)
        if variants(schema)[0]:
            return self._variant(value, schema, path, way)
        kind = schema.get("type", "any")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            return self._object(value, schema, path, way)
        if kind == "array":
            return self._list(value, schema, path, way)
        return value if kind == "any" else _scalar(value, kind, schema, path)

    def _variant(self, value: Any, schema: Schema, path: str, way: str) -> Document:
        member, shapes = variants(schema)
        told = value.get(member) if isinstance(value, dict) else None
        if told is None:
            raise BodyError(f"The value of '{member}' is required.", _inside(path, member))
        return self.value(value, shapes[_one_of(told, tuple(shapes), _inside(path, member))], path, way)

    def _list(self, value: Any, schema: Schema, path: str, way: str) -> list[Any]:
        if not isinstance(value, list):
            raise BodyError(f"A list is expected, not {value!r}.", path)
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            least, most = schema.get("minItems", 0), schema.get("maxItems", "any number")
            raise BodyError(f"The list has {len(value)} items, not {least} to {most}.", path)
        return [self.value(item, schema["items"], f"{path}[{i}]", f"{way}[]") for i, item in enumerate(value)]

    def _object(self, value: Any, schema: Schema, path: str, way: str) -> Document:
        if not isinstance(value, dict):
            raise BodyError(f"An object is expected, not {value!r}.", path)
        members, own = dict(schema.get("properties", {})), set(schema.get("readOnly", ()))
        for told, shape in self._stricter.more.items():
            if told.rpartition(".")[0] == way:
                name = told.rpartition(".")[2]
                own, members = (own | {name}, members) if shape == READ_ONLY else (own, {**members, name: shape})
        rest = schema.get("additionalProperties")
        found: Document = {}
        for name, member in value.items():
            if name in own or (member is None and (name in members or isinstance(rest, Mapping))):
                continue
            if name in members:
                found[name] = self.value(member, members[name], _inside(path, name), _inside(way, name))
            elif isinstance(rest, Mapping):
                found[name] = self.value(member, rest, _inside(path, name), _inside(way, "*"))
            else:
                of = path.rpartition(".")[2] or "Resource"
                raise BodyError(f"Could not find member '{name}' on object of type '{of}'.", _inside(path, name))
        self._check_required(found, schema, path, way)
        return found

    def _check_required(self, found: Document, schema: Schema, path: str, way: str) -> None:
        besides = [p.rpartition(".")[2] for p in self._stricter.required if p.rpartition(".")[0] == way]
        for name in (*schema.get("required", ()), *besides):
            if name not in found:
                raise BodyError(f"The value of '{name}' is required.", _inside(path, name))


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _scalar(value: Any, kind: str, schema: Schema, path: str) -> Any:
    if not isinstance(value, _TYPES[kind]) or (kind != "boolean" and isinstance(value, bool)):
        raise BodyError(f"Error converting value {value!r} to type '{kind}'.", path)
    if schema.get("format") == "date-time":
        _check_date(value, path)
    if schema.get("format") == "duration" and not _DURATION.fullmatch(value):
        raise BodyError(f"The value {value!r} is not a duration.", path)
    if kind == "string":
        least, most, pattern = schema.get("minLength", 0), schema.get("maxLength", len(value)), schema.get("pattern")
        if not least <= len(value) <= most or (pattern and not re.search(pattern, value)):
            raise BodyError(f"The value {value!r} is too short, too long, or does not match the pattern.", path)
    elif not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        low, high = schema.get("minimum", "any"), schema.get("maximum", "any")
        raise BodyError(f"The value {value!r} is not in the range from {low} to {high}.", path)
    return value


def _one_of(value: Any, allowed: tuple[str, ...], path: str) -> str:
    for each in allowed:
        if value == each or (isinstance(value, str) and isinstance(each, str) and value.lower() == each.lower()):
            return each
    raise BodyError(f"The value {value!r} is not one of {', '.join(map(str, allowed))}.", path)


def _check_date(value: str, path: str) -> None:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise BodyError(f"The value {value!r} is not a date.", path) from None
