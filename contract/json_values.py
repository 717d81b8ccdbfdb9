"""JSON that others supply: read within limits, and held against JSON schemas, which are others' too.

Of JSON schema (draft 2020-12, https://json-schema.org/specification) everything is checked but what would let a schema
reach out or run long: references leave no schema, patterns are matched in linear time, and `_REFUSED` is not taken.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from contract.documents.document import parse_json
from contract.errors import DocumentError

MAX_DEPTH = 32
MAX_CHARACTERS = 65_536
"""Of a text that `read_json` reads."""
_MAX_REFERENCES = 10_000  # followed in one check: a few definitions can ask for 2^n
_REFUSED = ("$dynamicRef", "$id", "patternProperties")
_SUBSCHEMAS = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then",
               "unevaluatedItems", "unevaluatedProperties")  # fmt: skip
_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCHEMA_MAPS = ("$defs", "definitions", "dependentSchemas", "properties")


def read_json(text: str) -> Any:
    """Read JSON of a model or a client.

    Raises:
        ValueError: too long, no JSON, a key twice, nested too deeply, or a value that other readers read otherwise.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"has more than {MAX_CHARACTERS} characters")
    try:
        value = parse_json(text, "")
        check_json(value)
    except DocumentError as e:
        raise ValueError(e.what) from None
    return value


def check_json(value: object, depth: int = 0) -> None:
    """Refuse values that other readers of JSON read otherwise, or not at all.

    Raises:
        DocumentError: nested too deeply, a number that is not finite or exceeds 64 bits, or half a surrogate pair.
    """
    if depth > MAX_DEPTH:
        raise DocumentError(f"is nested more than {MAX_DEPTH} deep")
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise DocumentError("holds half of a surrogate pair") from None
    elif isinstance(value, dict):
        for key, item in value.items():
            check_json(key)
            check_json(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            check_json(item, depth + 1)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise DocumentError("holds an integer of more than 64 bits")
    elif isinstance(value, float) and not float("-inf") < value < float("inf"):
        raise DocumentError("holds a number that is not finite")


def equal_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 is 1.0, and true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal_json(item, other[key]) for key, item in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal_json, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def check_schema(schema: Any) -> None:
    """Refuse what is no JSON schema, or one that `fault_of` does not check.

    Raises:
        ValueError: naming the keyword.
    """
    try:
        check_json(schema)
    except DocumentError as e:
        raise ValueError(e.what) from None
    _check_schema_text(json.dumps(schema, sort_keys=True))


def fault_of(value: Any, schema: Any) -> str:
    """What is wrong with a JSON value by a schema that `check_schema` took; empty: nothing.

    Raises:
        ValueError: its references lead in circles, or need too many steps.
    """
    from jsonschema.exceptions import ValidationError, best_match

    try:
        error: ValidationError | None = best_match(_validator(schema).iter_errors(value))
    except RecursionError:
        raise ValueError("its references lead in circles") from None
    if error is None:
        return ""
    place = ".".join(str(part) for part in error.absolute_path)
    return f"{place}: {error.message:.200}" if place else f"{error.message:.200}"


@lru_cache(maxsize=1024)
def _check_schema_text(text: str) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    schema = json.loads(text)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as e:
        raise ValueError(f"is no JSON schema: {'.'.join(map(str, e.absolute_path))}: {e.message:.200}") from None
    for part in parts_of_schema(schema):
        if used := [key for key in _REFUSED if key in part]:
            raise ValueError(f"uses {used[0]}, which is not checked")
        if "pattern" in part:
            _pattern(part["pattern"])
        if "$ref" in part:
            try:
                Registry().resolver_with_root(DRAFT202012.create_resource(schema)).lookup(part["$ref"])
            except Unresolvable:
                raise ValueError(f"the reference {part['$ref']!r:.200} leads to no part of it") from None
    fault_of(None, schema)  # finds circles that any value would go in


def parts_of_schema(schema: Any) -> Iterator[Mapping[str, Any]]:
    """A schema and all that it is made of."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in _SUBSCHEMAS:
        yield from parts_of_schema(schema.get(key))
    for key in _SCHEMA_LISTS:
        for each in schema.get(key, ()):
            yield from parts_of_schema(each)
    for key in _SCHEMA_MAPS:
        for each in schema.get(key, {}).values():
            yield from parts_of_schema(each)


def _validator(schema: Any) -> Any:
    """jsonschema's validator without its regular expressions, and with a limit to references."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
    from jsonschema.validators import extend
    from referencing import Registry

    followed = 0
    follow = Draft202012Validator.VALIDATORS["$ref"]

    def reference(validator: Any, ref: Any, instance: Any, part: Any) -> Iterator[ValidationError]:
        nonlocal followed
        followed += 1
        if followed > _MAX_REFERENCES:
            raise ValueError(f"its references need more than {_MAX_REFERENCES} steps")
        yield from follow(validator, ref, instance, part) or ()

    def pattern(_: Any, wanted: str, instance: Any, __: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not _pattern(wanted).isinstance_python(instance):
            yield ValidationError(f"{instance!r} does not match {wanted!r}")

    # A registry of its own: jsonschema's default fetches references from the network.
    return extend(Draft202012Validator, {"$ref": reference, "pattern": pattern})(schema, registry=Registry())


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> Any:
    """A pattern as pydantic checks it: Rust's regular expressions, which take linear time.

    Raises:
        ValueError: it is none, or looks around or back.
    """
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        raise ValueError(f"has the pattern {pattern!r:.100}, which is no plain regular expression") from None
