"""Patterns of JSON schemas: their size before they are compiled, and Rust's regular expressions, which match in time
linear in the text.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any

_SIZES = dict.fromkeys("pPwW", 50) | dict.fromkeys("dD", 5)
r"""Letter of an escape -> its size, if not 1: `\w` has 770 ranges of characters, and took 350 µs and 90 KB to
compile, `\D` 36 µs and 2 KB, where a dot took 4 µs.
"""
_CLASS_CHARACTERS = 16
"""Number of characters in brackets that count as one outside of them."""
_REPEATED = re.compile(r"\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")
_BEGIN_OF_CLASS = re.compile(r"\[\^?\]?")
"""A closing bracket is an ordinary character if it comes first."""
_BRACED_ESCAPES = "pPxuUb"
_MANY = 1 << 20
_VERBOSE = re.compile(r"\(\?[a-zA-Z-]*x")
"""A flag that lets spaces stand between a character and its repetition. ECMA's regular expressions don't have it."""


def size_of_pattern(pattern: str) -> int:
    """Returns the characters of a pattern after each counted repetition is written out, or more; in linear time.

    The size is an upper bound: names of groups are counted too. An invalid regular expression has a size as well.
    """
    if _VERBOSE.search(pattern):
        return _MANY
    groups: list[_Group] = [_Group(in_class=False)]
    last, place = 0.0, 0  # size of what a repetition would repeat
    while place < len(pattern):
        char, group = pattern[place], groups[-1]
        repeated = _REPEATED.match(pattern, place) if char == "{" and not group.in_class else None
        if repeated:
            times = _times(repeated)
            group.size += last * (times - 1)
            last, place = min(last * times, _MANY), repeated.end()
        elif begun := _BEGIN_OF_CLASS.match(pattern, place):
            groups.append(_Group(in_class=True))
            last, place = 0.0, begun.end()
        elif char == "(" and not group.in_class:
            groups.append(_Group(in_class=False))
            last, place = 0.0, place + 1
        elif len(groups) > 1 and char == ("]" if group.in_class else ")"):
            last, place = min(max(1.0, groups.pop().size), _MANY), place + 1
            groups[-1].size += last
        elif char in "*+?" and not group.in_class:  # what it repeats may be repeated again
            group.size, place = group.size + 1, place + 1
        else:
            last, place = _atom(pattern, place)
            last /= _CLASS_CHARACTERS if group.in_class and last == 1 else 1
            group.size += last
    return ceil(sum(group.size for group in groups))


@dataclass
class _Group:
    """A group or a class of characters that is still open."""

    in_class: bool
    size: float = 0.0


def _times(repeated: re.Match[str]) -> int:
    counts = [count for count in repeated.groups() if count]
    return max([1, *(int(count) if len(count) < 7 else _MANY for count in counts)])


def _atom(pattern: str, place: int) -> tuple[int, int]:
    """Returns the size of a character or an escape, and where the next one begins."""
    if pattern[place] != "\\":
        return 1, place + 1
    escaped = pattern[place + 1 : place + 2]
    end = place + 2
    if escaped and escaped in _BRACED_ESCAPES and pattern[end : end + 1] == "{":
        end = pattern.find("}", end) + 1 or len(pattern)
    return _SIZES.get(escaped, 1), end


@lru_cache(maxsize=16)  # of up to 10 MB each
def compile_pattern(pattern: str) -> Any:
    """Returns pydantic's validator for a pattern, which uses Rust's regular expressions.

    Raises:
        ValueError: the pattern is not a regular expression, or has look-around or back-references.
    """
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        raise ValueError(f"has the pattern {pattern!r:.100}, which is not a plain regular expression") from None
