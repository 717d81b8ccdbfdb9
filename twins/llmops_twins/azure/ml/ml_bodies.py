"""Validates bodies of Azure ML's API against machinelearningservices.json; see tools.azure_schemas.

https://github.com/Azure/azure-sdk-for-python/tree/main/sdk/ml/azure-ai-ml has the models.

Unsure (70 %): the constraints are from the models; codes, messages and the refusal of read-only members are assumed.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document

"""api-versions that Azure ML takes and that the kit's clients send. All are judged by the newest one's schema."""
WORKSPACES = "Microsoft.MachineLearningServices/workspaces"
_FILE = Path(__file__).with_name("machinelearningservices.json")


def judge(definition: str, body: Any) -> Document:
    """Checks that a body fits its definition.

    Raises:
        ArmError: 400 ValidationError; its details name each member that is unknown, read-only, missing or mistyped.
    """
    problems = [problem for error in _validator(definition).iter_errors(body) for problem in _problems(error)]
    if problems:
        details = [{"code": "InvalidMember", "message": message, "target": target} for target, message in problems]
        target, message = problems[0]
        raise ArmError(
            400, "ValidationError", f"The request is invalid: {target or 'body'}: {message}", target, details
        )
    return body


def writable(definition: str, document: Document) -> Document:
    """Returns the members of a document that a client may write: without read-only ones and the twin's own ("_…")."""
    public = {name: value for name, value in document.items() if not name.startswith("_")}
    return _writable({"$ref": f"#/$defs/{definition}"}, public)


def judged(definition: str, method: str, body: Any) -> Document:
    """Returns a validated copy of the body of a PUT, or of the merged result of a PATCH (without the read-only members
    of the existing document).
    """
    return copy.deepcopy(judge(definition, writable(definition, body) if method == "PATCH" else body))


def same(one: Any, other: Any) -> bool:
    """Returns whether two values are equal; null, an empty object and absence are equal."""
    return _full(one) == _full(other)


def refuse_changes(definition: str, before: Document, after: Document, what: str) -> None:
    """Refuses changes of members that can only be set at creation.

    Raises:
        ArmError: 400, with the first such member as target.
    """
    for path in _changes({"$ref": f"#/$defs/{definition}"}, before, after, ()):
        target = ".".join(path)
        raise ArmError(400, "BadRequest", f"{target} of {what} can't be changed after it was created.", target)


def _full(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _full(each) for name, each in value.items() if _full(each) is not None} or None
    return value


@cache
def _schema() -> dict[str, Any]:
    return json.loads(_FILE.read_text(encoding="utf-8"))


@cache
def _validator(definition: str) -> Draft202012Validator:
    return Draft202012Validator({"$defs": _schema()["$defs"], "$ref": f"#/$defs/{definition}"})


def _problems(error: ValidationError) -> Iterator[tuple[str, str]]:
    path = ".".join(str(part) for part in error.absolute_path)
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    if error.validator == "anyOf" and error.context:  # "or null": reports the violations of the definition
        for inner in error.context:
            if inner.relative_schema_path[0] == 0:
                yield from _problems(inner)
    elif error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        for name in sorted(set(error.instance) - set(schema.get("properties", {}))):
            read_only = name in schema.get("readOnly", ())
            yield ".".join(filter(None, (path, name))), "is read-only." if read_only else "is not a known member."
    elif error.validator == "required":
        missing = [name for name in schema["required"] if name not in error.instance]
        yield from ((".".join(filter(None, (path, name))), "is required.") for name in missing)
    else:
        yield path, f"{error.message}."


def _resolved(schema: Mapping[str, Any], value: Any) -> Mapping[str, Any]:
    """Returns the schema of a value with references, "or null" and variants resolved."""
    while True:
        if "$ref" in schema:
            schema = _schema()["$defs"][schema["$ref"].rpartition("/")[2]]
        elif "anyOf" in schema:
            schema = schema["anyOf"][0]
        elif "allOf" in schema and isinstance(value, Mapping):
            chosen = [each["then"] for each in schema["allOf"] if _matches(each["if"], value)]
            if not chosen:
                return schema
            schema = chosen[0]
        else:
            return schema


def _matches(condition: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    return all(value.get(name) == wanted["const"] for name, wanted in condition["properties"].items())


def _writable(schema: Mapping[str, Any], value: Any) -> Any:
    schema = _resolved(schema, value)
    if isinstance(value, Mapping):
        hidden = schema.get("readOnly", ())
        inner = {name: _member(schema, name) for name in value}
        return {name: _writable(inner[name], each) for name, each in value.items() if name not in hidden}
    if isinstance(value, list):
        return [_writable(schema.get("items", {}), item) for item in value]
    return value


def _member(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = schema.get("properties", {}).get(name)
    rest = schema.get("additionalProperties")
    return found if found is not None else rest if isinstance(rest, Mapping) else {}


def _changes(schema: Mapping[str, Any], before: Any, after: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return
    schema = _resolved(schema, before)
    for name in schema.get("properties", {}):
        member = schema["properties"][name]
        old, new = before.get(name), after.get(name)
        if member.get("createOnly") and not same(old, new):
            yield (*path, name)
        else:
            yield from _changes(member, old, new, (*path, name))
