"""Validation errors of pydantic in plain words, and suggestions for misspelt names."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from llmops_kit.core.names import NAME_PATTERN, SHA256_PATTERN

# By pydantic's error types (https://docs.pydantic.dev/latest/errors/validation_errors/), filled in from their context.
_MESSAGES = {
    "extra_forbidden": "unknown key",
    "missing": "is missing",
    "literal_error": "must be {expected}",
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items, has {actual_length}",
    "too_long": "must have at most {max_length} items, has {actual_length}",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
}
_PATTERNS = {
    NAME_PATTERN: "must be small letters, digits and single dashes, a letter first",
    SHA256_PATTERN: "must be 64 hexadecimal digits",
}
_COMPLETE = ("extra_forbidden", "missing", "too_short", "too_long", "value_error")
"""Error types whose message needs no copy of the value."""


def message_of(item: Mapping[str, Any]) -> str:
    """Returns a description of one finding of `ValidationError.errors()`, with the value if it is a number or boolean.

    Other values are left out: a text may be a secret, pasted where its name belongs, and errors go to logs.
    """
    kind, found = item["type"], item.get("ctx", {})
    if kind == "string_pattern_mismatch":
        message = _PATTERNS.get(found["pattern"], f"must match the pattern {found['pattern']}")
    elif kind in _MESSAGES:
        message = _MESSAGES[kind].format(**found)
    else:
        message = item["msg"].removeprefix("Value error, ")
    shows = kind not in _COMPLETE and isinstance(item["input"], bool | int | float)
    return f"{message} (found {item['input']!r})" if shows else message


def first_message(error: ValidationError) -> str:
    """Returns a description of an error's first finding."""
    return message_of(error.errors()[0])


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Returns `did you mean NAME?` for the closest of the known names; empty if none is close."""
    close = get_close_matches(given, list(known), 1)
    return f"did you mean {close[0]}?" if close else ""


def known_keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Returns the allowed keys at the place of the last part of `path`; [] if the models don't define them."""
    inner = _model_at(model, path[:-1])
    return [field.alias or name for name, field in inner.model_fields.items()] if inner else []


def bounds_of(model: type[BaseModel], path: tuple[int | str, ...]) -> tuple[float | None, float | None]:
    """Returns the minimum and maximum (`ge`, `le`) of the field at `path`; None if it has none."""
    inner = _model_at(model, path[:-1])
    field = inner.model_fields.get(str(path[-1])) if inner else None
    metadata = field.metadata if field else []
    low, high = (next((getattr(each, name) for each in metadata if hasattr(each, name)), None) for name in ("ge", "le"))
    return low, high


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    keys = iter(path)
    for key in keys:
        field = _field(model, str(key))
        inner = list(_models(field))
        if not inner:
            return None
        model = inner[0]
        if get_origin(field) in (dict, list, tuple):
            next(keys, None)  # a name that the user chose, such as an endpoint's, or an index in a list
    return model


def _field(model: type[BaseModel], key: str) -> Any:
    for name, field in model.model_fields.items():
        if key in (name, field.alias):
            return field.annotation
    return None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
