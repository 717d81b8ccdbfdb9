"""Checks that a JSON schema is valid, and that a value matches it.

Supports JSON schema (draft 2020-12, https://json-schema.org/specification), without features that could access other
documents or take long: `bounds` are checked first, references must be JSON pointers within the schema, patterns are
matched in linear time, and the keywords in `_REFUSED` are rejected.
"""

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from llmops_kit.core.json_schema.bounds import check_bounds, parts_of_schema
from llmops_kit.core.json_schema.patterns import compile_pattern, size_of_pattern

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_Keyword = Callable[[Any, Any, Any, Any], "Iterator[ValidationError] | None"]
MAX_STEPS = 100_000
"""Maximum in one comparison of a value with a schema, which took up to 1 s. A step is one keyword compared with one
part of the value, or work that takes as long.
"""
_REFUSED = ("$dynamicRef", "$id", "patternProperties")
_ITEMS_A_STEP = 8
_CHARACTERS_A_STEP = 64
_MATCHES_A_STEP = 500
"""Characters times size of the pattern."""


def check_schema(schema: Any) -> None:
    """Rejects an invalid JSON schema, one beyond the limits, or one that `fault_of` does not check.

    Raises:
        ValueError: naming the keyword.
    """
    check_bounds(schema)
    _check_schema_text(json.dumps(schema, sort_keys=True))


@lru_cache(maxsize=256)
def _check_schema_text(text: str) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    schema = json.loads(text)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as e:
        raise ValueError(f"is not a JSON schema: {'.'.join(map(str, e.absolute_path))}: {e.message:.200}") from None
    for part in parts_of_schema(schema):
        if used := [key for key in _REFUSED if key in part]:
            raise ValueError(f"uses {used[0]}, which is not checked")
        if "pattern" in part:
            compile_pattern(part["pattern"])


def fault_of(value: Any, schema: Any) -> str:
    """Returns why a JSON value doesn't match a schema that passed `check_schema`; empty if it does.

    Raises:
        ValueError: the comparison needs too many steps.
    """
    from jsonschema.exceptions import ValidationError, best_match

    try:
        error: ValidationError | None = best_match(_validator(schema).iter_errors(value))
    except RecursionError:
        raise ValueError("its references lead too deep") from None
    if error is None:
        return ""
    place = ".".join(str(part) for part in error.absolute_path)
    return f"{place}: {error.message:.200}" if place else f"{error.message:.200}"


class _Steps:
    """Counts down the steps of a comparison."""

    def __init__(self) -> None:
        self._left = MAX_STEPS

    def spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise ValueError(f"it takes more than {MAX_STEPS} steps to compare with its schema")

    def counted(self, check: "_Keyword") -> "_Keyword":
        """Returns jsonschema's check of a keyword with its steps counted."""

        def checked(validator: Any, wanted: Any, instance: Any, part: Any) -> "Iterator[ValidationError]":
            self.spend(1 + (_size(wanted) + _size(instance)) // _ITEMS_A_STEP)
            for error in check(validator, wanted, instance, part) or ():
                self.spend(len(error.message) // _CHARACTERS_A_STEP)
                yield error

        return checked

    def equal(self, check: "_Keyword") -> "_Keyword":
        """Returns jsonschema's check of a keyword that compares whole values, with extra steps for their length."""

        def checked(validator: Any, wanted: Any, instance: Any, part: Any) -> "Iterator[ValidationError]":
            self.spend(len(str(wanted)) // _CHARACTERS_A_STEP)
            yield from check(validator, wanted, instance, part) or ()

        return checked

    def pattern(self, _: Any, wanted: str, instance: Any, __: Any) -> "Iterator[ValidationError]":
        """Checks `pattern` with Rust's regular expressions."""
        from jsonschema.exceptions import ValidationError

        if isinstance(instance, str):
            self.spend(len(instance) * size_of_pattern(wanted) // _MATCHES_A_STEP)
            if not compile_pattern(wanted).isinstance_python(instance):
                yield ValidationError(f"{instance!r} does not match {wanted!r}")


def _unique(_: Any, wanted: bool, instance: Any, __: Any) -> "Iterator[ValidationError]":
    """Checks `uniqueItems`. jsonschema compares each item with each other one where they can't be sorted."""
    from jsonschema.exceptions import ValidationError

    if wanted and isinstance(instance, list) and len(set(map(_canonical, instance))) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _validator(schema: Any) -> Any:
    """Returns jsonschema's validator with a limit to its steps."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend
    from referencing import Registry

    steps = _Steps()
    given: dict[str, Any] = {**Draft202012Validator.VALIDATORS, "pattern": steps.pattern, "uniqueItems": _unique}
    given |= {keyword: steps.equal(given[keyword]) for keyword in ("const", "enum")}
    # A registry of its own: jsonschema's default fetches references from the network.
    kept = {keyword: steps.counted(check) for keyword, check in given.items()}
    return extend(Draft202012Validator, kept)(schema, registry=Registry())


def _size(value: Any) -> int:
    return len(value) if isinstance(value, (dict, list)) else 0


def _canonical(value: Any) -> str:
    """Returns one text for all values that JSON schema counts as equal: 1 is 1.0, and true is not 1."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
