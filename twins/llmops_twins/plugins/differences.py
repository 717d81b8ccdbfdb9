"""Differences between two values by path, named as in Pulumi's detailed diffs."""

import json
from collections.abc import Callable, Iterator
from typing import Any

Same = Callable[[str, Any, Any], bool]
"""(path with `[]` for any index, old, new) -> whether the cloud treats both as the same."""


def differences(path: str, old: Any, new: Any, same: Same) -> Iterator[tuple[str, str, tuple[Any, Any]]]:
    """Yields (path, kind, (old, new)) of each difference: kind is add, delete or update. None means absent."""
    if old == new or same(general(path), old, new):
        return
    if old is None or new is None:
        yield path, "add" if old is None else "delete", (old, new)
    elif isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from differences(member(path, name), old.get(name), new.get(name), same)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            olds, news = (items[index] if index < len(items) else None for items in (old, new))
            yield from differences(f"{path}[{index}]", olds, news, same)
    else:
        yield path, "update", (old, new)


def member(path: str, name: str) -> str:
    """Returns the path of an object's member; names other than plain words are quoted."""
    plain = name.replace("_", "").replace("-", "").isalnum()
    return f"{path}.{name}" if plain else f"{path}[{json.dumps(name)}]"


def general(path: str) -> str:
    """Returns a path with `[]` in place of each index: `a[0].b` -> `a[].b`."""
    parts = path.split("[")
    for at, part in enumerate(parts[1:], 1):
        number, closing, rest = part.partition("]")
        if closing and number.isdecimal():
            parts[at] = f"]{rest}"
    return "[".join(parts)


def same_members(old: list[Any], new: list[Any], same: Callable[[Any, Any], bool]) -> bool:
    """Returns whether two lists hold the same members, in any order."""
    left = list(new)
    for item in old:
        found = next((at for at, other in enumerate(left) if item == other or same(item, other)), None)
        if found is None:
            return False
        del left[found]
    return not left
