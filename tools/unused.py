"""`python -m tools.unused`: lists functions, classes and settings that only tests use.

A name counts as used if the product's code names it, in a string or a file of data too. Methods and attributes are left
out: libraries call them by name. Exit code 1 if something is found.
"""

import re
import sys
from collections import Counter
from pathlib import Path

from vulture import Vulture

CHECKOUT = Path(__file__).resolve().parents[1]
ROOMS = ("infra", "training", "serving", "hosting", "src", "twins", "tools", "bench")
ACCEPTED = {
    "peak_of_kit": "bench/merge.py calls it by its name",
    "peak_of_peft": "bench/merge.py calls it by its name",
    "SbomHook": "hatchling finds it by its base class",
    "serialize_as_secret_always": "Pulumi reads it",
    "daemon_threads": "socketserver reads it",
    "protocol_version": "http.server reads it",
    "disable_nagle_algorithm": "socketserver reads it",
    "OPENVINO": "typer reads the values of an enumeration",
    "TRANSFORMERS": "typer reads the values of an enumeration",
    "feed_forward": "a size of a published model: its table is data",
}
"""Name -> its user."""
_HOOKS = "pytest_"
_BODIES = "serving/llmops_kit/serving/api"
"""Fields of requests: unused ones are accepted, but only with their default value."""
_TEXTS = {".py", ".json", ".yaml", ".toml", ".sh", ".html", ".js"}
_KINDS = {"function", "class", "variable"}


def unused(rooms: list[Path]) -> list[str]:
    """Returns `FILE:LINE KIND NAME` of each name that occurs only in its own definition."""
    found = Vulture(ignore_decorators=["@*"])
    files = [path for room in rooms for path in room.rglob("*") if _is_read(path)]
    found.scavenge([str(path) for path in files if path.suffix == ".py"])
    words = Counter(word for path in files for word in re.findall(r"\w+", path.read_text()))
    return [
        f"{item.filename}:{item.first_lineno} {item.typ} {item.name}"
        for item in found.get_unused_code(min_confidence=60)
        if item.typ in _KINDS
        and words[item.name] == 1
        and item.name not in ACCEPTED
        and not item.name.startswith(_HOOKS)
        and _BODIES not in Path(item.filename).as_posix()
    ]


def _is_read(path: Path) -> bool:
    return path.suffix in _TEXTS and "tests" not in path.parts and path != Path(__file__).resolve()


def main() -> int:
    """Prints the unused names; returns the exit code."""
    found = unused([CHECKOUT / room for room in ROOMS])
    print("\n".join(found))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
