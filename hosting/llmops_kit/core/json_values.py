"""Untrusted JSON, read within limits."""

from typing import Any

from llmops_kit.core.document import parse_json
from llmops_kit.core.errors import DocumentError

MAX_DEPTH = 32
MAX_CHARACTERS = 65_536
"""Maximum length of a text for `read_json`."""


def read_json(text: str) -> Any:
    """Read JSON of a model or a client.

    Raises:
        ValueError: too long, not JSON, a duplicate key, nested too deeply, or a value that `check_json` rejects.
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
    """Reject values that other JSON parsers read differently, or not at all.

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
    """Returns whether two JSON values are equal: 1 equals 1.0, and true does not equal 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal_json(item, other[key]) for key, item in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal_json, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
