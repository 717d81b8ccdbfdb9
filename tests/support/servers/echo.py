"""The image of a small server that streams like a model's (tests/emulated/local_runtime/echo), quick to start."""

import re
from pathlib import Path

from llmops_kit.local_runtime.process_images import ImageSource
from tests.support.checkout import CHECKOUT

_SERVER = CHECKOUT / "tests/emulated/local_runtime/echo"
_PACKAGES = ["aiohttp", "aiohappyeyeballs", "aiosignal", "attrs", "frozenlist", "idna", "multidict", "propcache"]
_PACKAGES += ["typing-extensions", "yarl"]


def echo_source(folder: Path) -> ImageSource:
    """The echo server, with the part of the kit's lock that it needs, written into `folder`."""
    blocks = re.split(r"\n(?=[a-z0-9])", (CHECKOUT / "requirements/kit.txt").read_text())
    wanted = [block for block in blocks if re.split(r"[=<>; ]", block)[0] in _PACKAGES]
    requirements = folder / "echo.txt"
    requirements.write_text("\n".join(wanted) + "\n")
    return ImageSource("echo", requirements, {"echo": _SERVER})
