"""Versions of the engine: the oldest supported one, and the one that go.mod pins."""

import functools
import re
from collections.abc import Callable
from pathlib import Path

MINIMUM = (3, 260, 0)
"""Oldest supported engine; older ones were not tried."""

FOLDER = Path(__file__).parent

Report = Callable[[str], None]
"""Called with one line of progress, about every second during slow steps."""


@functools.cache
def pinned_version() -> str:
    """Returns the version of the kit's own engine, such as `3.274.1`, from go.mod."""
    found = re.search(r"github\.com/pulumi/pulumi/pkg/v3 v(\S+)", (FOLDER / "go" / "go.mod").read_text())
    assert found, "go.mod requires the engine"
    return found.group(1)


def parse_version(text: str) -> tuple[int, int, int] | None:
    """`v3.274.1`, `3.275.0-alpha.1+dirty` -> (3, 274, 1), (3, 275, 0); None for other text."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text.strip())
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
