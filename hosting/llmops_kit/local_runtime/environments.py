"""Virtual environments of locks, in the cache: each is created once, and is either complete or absent."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmops_kit.core.errors import HostingError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import cache_dir
from llmops_kit.local_runtime.files import locked

_FOR_ALL = 0o755


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and the lock of its packages."""

    folder: Path
    lock: Path


def build_environment(
    name: str, lock: Path, say: Callable[[str], None], below: Environment | None = None
) -> Environment:
    """Creates the virtual environment of a lock unless it exists.

    Args:
        name: prefix of its folder's name.
        lock: with hashes, as `uv pip compile` writes it.
        say: called with one line for each step.
        below: an environment whose packages are shared where both locks have the same version.

    Raises:
        HostingError: a package can't be fetched, or the disk is full.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    content = lock.read_bytes() + version.encode()
    content += str(below.folder).encode() + below.lock.read_bytes() if below else b""
    # An environment above another depends on the other's path: resolved, a link to the folder doesn't duplicate it.
    final = (cache_dir() / "venvs").resolve() / f"{name}-{sha256_bytes(content)[:20]}"
    if python_of(final).exists():
        return Environment(final, lock)
    # Images share environments, so the lock file of an image doesn't keep two builders out of one.
    waiting = f"image {name}: another process makes its environment; waiting"
    with locked(final.with_name(f".{final.name}.lock"), say, waiting):
        if not python_of(final).exists():
            _build(name, lock, say, below, final)
    return Environment(final, lock)


def _build(name: str, lock: Path, say: Callable[[str], None], below: Environment | None, final: Path) -> None:
    say(f"image {name}: making its environment in {final} (once for these requirements)")
    for leftover in (final, *final.parent.glob(f"{final.name}.partial-*")):
        shutil.rmtree(leftover, ignore_errors=True)
    # A new folder for each builder: the uv of a killed builder may still be writing into its folder.
    partial = Path(tempfile.mkdtemp(prefix=f"{final.name}.partial-", dir=final.parent))
    partial.chmod(_FOR_ALL)
    create = ("venv", "--quiet", "--no-project", "--relocatable", "--python", sys.executable)
    try:
        _uv(name, lock, say, *create, str(partial))
        _install(name, lock, say, partial, below)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def python_of(environment: Path) -> Path:
    """Returns an environment's interpreter."""
    return environment / "bin" / "python"


def find_uv() -> str:
    """Returns the program uv: from the kit's own environment, or from PATH.

    Raises:
        HostingError: there is none.
    """
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise HostingError("uv is missing, which creates the images' environments", fix="pip install uv")
    return found


def packages_above(lock: Path, below: Path) -> list[str]:
    """Returns the entries of a lock, each with its hashes, that another lock does not have in the same version."""
    shared = {entry.partition("\n")[0] for entry in _entries(below)}
    return [entry for entry in _entries(lock) if entry.partition("\n")[0] not in shared]


def _entries(lock: Path) -> Sequence[str]:
    return re.findall(r"^[A-Za-z0-9].*(?:\n[^\nA-Za-z0-9].*)*", lock.read_text(), re.MULTILINE)


def _install(name: str, lock: Path, say: Callable[[str], None], folder: Path, below: Environment | None) -> None:
    sync = ("pip", "sync", "--require-hashes", "--compile-bytecode", "--python", str(python_of(folder)))
    if not below:
        _uv(name, lock, say, *sync, str(lock))
        return
    wanted = folder / "above.txt"
    wanted.write_text("\n".join(packages_above(lock, below.lock)) + "\n")
    _uv(name, lock, say, *sync, str(wanted))
    # Searched after the environment's own packages.
    (_libraries(folder) / "below.pth").write_text(f"{_libraries(below.folder)}\n")


def _libraries(environment: Path) -> Path:
    return next((environment / "lib").glob("python*")) / "site-packages"


def _uv(name: str, lock: Path, say: Callable[[str], None], *arguments: str) -> None:
    environ = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
    lines: list[str] = []
    with subprocess.Popen(
        [find_uv(), *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environ
    ) as process:
        assert process.stderr
        for line in map(str.strip, process.stderr):
            if line and not line.startswith(("+ ", "- ", "~ ")):
                lines.append(line)
                say(f"image {name}: {line}")
    if process.returncode:
        raise HostingError(
            f"the environment of image {name} can't be made: " + " / ".join(lines[-5:]),
            where=str(lock),
            fix="check the package registry's connection and the free disk space; the build resumes where it stopped",
        )
