"""Compiles models of newer clients, generated from TypeSpec: classes of `rest_field`s with visibility and type
hints.
"""

import typing
from enum import Enum
from typing import Any

from tools.azure_schemas.compiler import ModelCompiler

SCALARS = {"str": "string", "int": "integer", "float": "number", "Decimal": "number", "bool": "boolean"}


class Compiler(ModelCompiler):
    """Compiles models of the newer clients."""

    def _definition(self, model: Any) -> dict[str, Any]:
        return self._variants(model) if _own_mapping(model) else self._object(model)

    def _variants(self, model: Any) -> dict[str, Any]:
        fields = _fields(model).values()
        name = next(field._rest_name for field in fields if field._is_discriminator and not self._fixed(model, field))
        mapping = {str(_plain(value)): variant for value, variant in model.__mapping__.items()}
        return {
            "type": "object",
            "required": [name],
            "properties": {name: {"enum": sorted(mapping)}},
            "allOf": [
                {"if": {"properties": {name: {"const": value}}, "required": [name]}, "then": self.reference(variant)}
                for value, variant in sorted(mapping.items())
            ],
        }

    def _object(self, model: Any) -> dict[str, Any]:
        hints = self._hints(model)
        members, required = {}, []
        for attribute, field in _fields(model).items():
            hint = hints[attribute]
            optional = type(None) in typing.get_args(hint)
            if field._visibility == ["read"]:
                continue
            member = self._type(hint)
            if optional:
                member = _or_null(member)
            elif not optional:
                required.append(field._rest_name)
            if field._rest_name == "userAssignedIdentities":  # null removes one (ARM's rules of managed identities)
                member["additionalProperties"] = _or_null(member["additionalProperties"])
            if field._visibility == ["read", "create"]:
                member = {**member, "createOnly": True}
            members[field._rest_name] = member
        read_only = sorted(f._rest_name for f in _fields(model).values() if f._visibility == ["read"])
        found = {"type": "object", "properties": members, "additionalProperties": False}
        return found | ({"required": required} if required else {}) | ({"readOnly": read_only} if read_only else {})

    def _type(self, hint: Any) -> dict[str, Any]:
        origin, args = typing.get_origin(hint), [a for a in typing.get_args(hint) if a is not type(None)]
        if origin is typing.Literal:
            return {"enum": [_plain(arg) for arg in args]}
        if origin is typing.Union:
            enums = [arg for arg in args if isinstance(arg, type) and issubclass(arg, Enum)]
            return self._type(enums[0] if enums else args[0])
        if origin is list:
            return {"type": "array", "items": self._type(args[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self._type(args[1])}
        if hint is Any or hint is object:
            return {}
        if issubclass(hint, Enum):
            return {"enum": [member.value for member in hint]}
        if hint.__module__.startswith("azure."):
            return self.reference(hint)
        return {"type": SCALARS.get(hint.__name__, "string")}  # dates, durations and bytes travel as strings

    def _fixed(self, model: Any, field: Any) -> bool:
        """Returns whether the model is a variant that fixes a discriminator's value."""
        hint = self._hints(model)[next(name for name, other in _fields(model).items() if other is field)]
        return typing.get_origin(hint) is typing.Literal

    def _hints(self, model: Any) -> dict[str, Any]:
        return typing.get_type_hints(model, {**vars(typing), "_models": self._models}, None)


def _or_null(member: dict[str, Any]) -> dict[str, Any]:
    if not member:
        return member
    if "$ref" in member:
        return {"anyOf": [member, {"type": "null"}]}
    if "enum" in member:
        return {"enum": [*member["enum"], None]}
    return {**member, "type": [member["type"], "null"]}


def _fields(model: Any) -> dict[str, Any]:
    model.__new__(model)  # names the fields
    return model._attr_to_rest_field


def _own_mapping(model: Any) -> bool:
    return bool(model.__dict__.get("__mapping__"))


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
