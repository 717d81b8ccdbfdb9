"""uv run --no-project --with azure-ai-ml==1.35.2 python tools/azure_schemas.py [FILE]: compile what Azure ML takes.

azure-ai-ml bundles the models of Azure ML's REST API 2025-12-01 (MIT License, Microsoft Corporation). Each type that a
body of the twin's kinds can hold becomes a JSON schema below `$defs`, which catches unknown, read-only, missing and
mistyped members, and tells variants apart by their discriminator. `createOnly` marks what can't change later.
"""

import json
import sys
import typing
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from azure.ai.ml._restclient.arm_ml_service import models  # pyright: ignore[reportMissingImports]

BODIES = (
    "Workspace",
    "WorkspaceUpdateParameters",
    "ComputeResource",
    "ClusterUpdateParameters",
    "Datastore",
    "ModelContainer",
    "ModelVersion",
    "EnvironmentContainer",
    "EnvironmentVersion",
    "DataContainer",
    "DataVersionBase",
    "CodeContainer",
    "CodeVersion",
    "OnlineEndpoint",
    "OnlineDeployment",
    "PartialMinimalTrackedResourceWithIdentity",
    "PartialMinimalTrackedResourceWithSku",
    "JobBase",
    "Schedule",
    "DeploymentLogsRequest",
    "RegenerateEndpointKeysRequest",
)
"""Bodies of PUT, PATCH and POST on the kinds that the twin has."""
FILE = Path(__file__).parent.parent / "twins" / "azure" / "schemas" / "machinelearningservices.json"
SCALARS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


class Compiler:
    """Compiles models into `defs`, with all that they refer to."""

    def __init__(self) -> None:
        self.defs: dict[str, Any] = {}

    def reference(self, model: type) -> dict[str, Any]:
        """A reference to a model's definition, which is compiled if it is not yet."""
        if model.__name__ not in self.defs:
            self.defs[model.__name__] = {}
            self.defs[model.__name__] = self._variants(model) if _own_mapping(model) else self._object(model)
        return {"$ref": f"#/$defs/{model.__name__}"}

    def _variants(self, model: Any) -> dict[str, Any]:
        fields = _fields(model).values()
        name = next(field._rest_name for field in fields if field._is_discriminator and not _fixed(model, field))
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
        hints = _hints(model)
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
            if field._rest_name == "userAssignedIdentities":  # null takes one away (ARM's rules of managed identities)
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


def _fixed(model: Any, field: Any) -> bool:
    """Is a discriminator already decided by the variant that the model is?"""
    hint = _hints(model)[next(name for name, other in _fields(model).items() if other is field)]
    return typing.get_origin(hint) is typing.Literal


def _hints(model: Any) -> dict[str, Any]:
    return typing.get_type_hints(model, {**vars(typing), "_models": models}, None)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def main(file: Path) -> None:
    """Write the schemas."""
    compiler = Compiler()
    for name in BODIES:
        compiler.reference(getattr(models, name))
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Compiled by tools/azure_schemas.py from the REST models (API 2025-12-01) in azure-ai-ml "
        f"{version('azure-ai-ml')}, Copyright (c) Microsoft Corporation, MIT License.",
        "$defs": dict(sorted(compiler.defs.items())),
    }
    file.write_text(json.dumps(schema, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{file}: {len(compiler.defs)} definitions")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
