"""Names that somebody made to be written elsewhere, seeded; and a look at all that lies outside."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

_PARTS = [
    *(
        "..",
        ".",
        "",
        "...",
        "a",
        "b.bin",
        "model.safetensors",
        "größe 2",
        "openvino",
        "~",
        "$HOME",
        "%2e%2e",
        "-rf",
        "*",
    ),
    *("C:", "c:x", "\\", "..\\..\\x", "a\0b", "a\nb", "\x1b[2J", "\x7f", "\u202e", "\udc80", " ", "x" * 255, "x" * 256),
    *("ü" * 128, "manifest.json", ".git", "NUL", "manifest.json.sig"),
]
_JOINTS = ["/", "/", "/", "/", "//", "\\", "/./", "/../"]


def hostile_keys(seed: int, count: int, outside: Path) -> Iterator[str]:
    """Keys, some of them harmless. `outside` is a folder that they try to reach."""
    draw = random.Random(seed)
    for _ in range(count):
        key = draw.choice(_PARTS)
        for _ in range(draw.choice((0, 1, 1, 2, 3, 80))):
            key += draw.choice(_JOINTS) + draw.choice(_PARTS)
        beginning = draw.random()
        if beginning < 0.1:
            key = "/" + key
        elif beginning < 0.2:
            key = f"{outside}/{key}"
        elif beginning < 0.3:
            key = "../" * draw.randint(1, 9) + str(outside).lstrip("/") + f"/{key}"
        elif beginning < 0.33:
            key = key + "n" * 5_000
        yield key


def everything(root: Path, but: Path | None = None) -> dict[str, bytes | str | None]:
    """Path -> content of all that lies below a folder (of a link where it points, of a folder None), but one folder."""
    found: dict[str, bytes | str | None] = {}
    for base, folders, files in os.walk(root):
        folders[:] = [name for name in folders if Path(base, name) != but]
        for name in [*folders, *files]:
            path = Path(base, name)
            text = path.readlink().as_posix() if path.is_symlink() else None
            found[path.relative_to(root).as_posix()] = path.read_bytes() if text is None and path.is_file() else text
    return found
