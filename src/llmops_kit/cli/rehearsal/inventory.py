"""Compares two inventories of an account: leftovers, and changed resources."""

from collections.abc import Callable
from typing import Any


def differences(
    before: dict[str, Any], after: dict[str, Any], aside: Callable[[str], bool] = lambda _: False
) -> tuple[list[str], list[str]]:
    """Returns what is new, and what changed or disappeared, between two inventories, except what `aside` accepts."""
    new = sorted(name for name in after if name not in before and not aside(name))
    changed = sorted(name for name in before if after.get(name) != before[name] and not aside(name))
    return new, changed
