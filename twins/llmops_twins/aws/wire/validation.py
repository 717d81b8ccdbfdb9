"""Validates parameters by the service's model: required members, types, enums, lengths, patterns and ranges.

The messages are those that AWS's services share: `1 validation error detected: Value 'x' at 'name' failed to satisfy
constraint: Member must …`; paths have their notation (`productionVariants.1.member.instanceType`).

https://github.com/aws-samples/sagemaker-ml-workflow-with-apache-airflow/issues/3 has such a response of SageMaker.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.wire.patterns import compiled
from llmops_twins.aws.wire.reading import Reading

# Services with their own error messages, or models with too few constraints: moto validates their requests.
_UNJUDGED = {"s3", "s3control", "ec2"}
_CODES = {
    "logs": "InvalidParameterException",
    "ecr": "InvalidParameterException",
    "sns": "InvalidParameter",
    "sagemaker-runtime": "ValidationError",
}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (datetime,),
    "structure": (dict,),
    "list": (list,),
    "map": (dict,),
}


def check(read: Reading) -> None:
    """Checks that the parameters satisfy the model's constraints.

    Raises:
        AwsApiError: with the service's code, listing every violation.
    """
    shape = read.operation.input_shape
    if shape is None or read.service in _UNJUDGED:
        return
    found = list(_violations(shape, read.parameters, ""))
    if found:
        plural = "" if len(found) == 1 else "s"
        code = _CODES.get(read.service) or ("ValidationError" if read.protocol == "query" else "ValidationException")
        raise AwsApiError(code, f"{len(found)} validation error{plural} detected: " + "; ".join(found))


def _violations(shape: Any, value: Any, path: str) -> Iterator[str]:
    kind = shape.type_name
    if getattr(shape, "is_document_type", False) or kind not in (*_TYPES, "blob"):
        return
    _require_type(kind, value, path)
    if kind == "structure":
        yield from _of_structure(shape, value, path)
    elif kind == "list":
        yield from _of_size(shape, value, len(value), "length", path)
        for index, item in enumerate(value, 1):
            yield from _violations(shape.member, item, f"{path}.{index}.member")
    elif kind == "map":
        yield from _of_map(shape, value, path)
    elif kind == "string":
        yield from _of_string(shape, value, path)
    elif kind == "blob":
        yield from _of_size(shape, value, len(value) if hasattr(value, "__len__") else 0, "length", path)
    elif kind in ("integer", "long", "float", "double"):
        yield from _of_size(shape, value, value, "value", path)


def _require_type(kind: str, value: Any, path: str) -> None:
    expected = _TYPES.get(kind)
    if expected and (not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected)):
        message = f"{_json_name(value)} can not be converted to {_article(kind)} (at '{path}')"
        # https://github.com/smithy-lang/smithy/tree/main/smithy-aws-protocol-tests
        raise AwsApiError("SerializationException", message)


def _of_structure(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            yield _told(None, _joined(path, name), "Member must not be null")
    for name, member in shape.members.items():
        if value.get(name) is not None:
            yield from _violations(member, value[name], _joined(path, name))


def _of_map(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    yield from _of_size(shape, value, len(value), "length", path)
    for key, item in value.items():
        yield from _violations(shape.key, key, f"{path}.{key}.key" if path else key)
        yield from _violations(shape.value, item, f"{path}.{key}.member" if path else key)


def _of_string(shape: Any, value: str, path: str) -> Iterator[str]:
    if shape.enum and value not in shape.enum:
        yield _told(value, path, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
        return
    yield from _of_size(shape, value, len(value), "length", path)
    pattern = shape.metadata.get("pattern")
    if pattern and not _fits(pattern, value):
        yield _told(value, path, f"Member must satisfy regular expression pattern: {pattern}")


def _fits(pattern: str, value: str) -> bool:
    try:
        return compiled(pattern).fullmatch(value) is not None
    except ValueError as e:  # no constraint is skipped silently
        raise AwsApiError("TwinFailure", f"The twin can't judge '{value}': {e}") from e


def _of_size(shape: Any, value: Any, size: float, noun: str, path: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < least:
        yield _told(value, path, f"Member must have {noun} greater than or equal to {least}")
    if most is not None and size > most:
        yield _told(value, path, f"Member must have {noun} less than or equal to {most}")


def _told(value: Any, path: str, constraint: str) -> str:
    shown = "null" if value is None else "of bytes" if isinstance(value, bytes) else f"'{value}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def _joined(path: str, name: str) -> str:
    small = name[:1].lower() + name[1:]
    return f"{path}.{small}" if path else small


def _json_name(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE_VALUE" if value else "FALSE_VALUE"
    names = {
        str: "STRING_VALUE",
        int: "NUMBER_VALUE",
        float: "DECIMAL_VALUE",
        list: "START_ARRAY",
        dict: "START_OBJECT",
    }
    return names.get(type(value), "NULL_VALUE")


def _article(kind: str) -> str:
    return f"an {kind.capitalize()}" if kind[0] in "aeiou" else f"a {kind.capitalize()}"
