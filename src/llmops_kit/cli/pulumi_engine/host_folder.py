"""Puts the kit's language host and dynamic provider beside its engine: Pulumi's own execute code from the state.

Checkouts and environments share one engine (`bin/pulumi`), and each may bring another version of these files. So they
lie in a folder named by their content, with a hard link to the engine: the engine looks for its plugins in its own
folder and warns of others. A file there never changes while a command runs. A folder takes 60 KB and stays until the
Python that it was made for is gone.
"""

import contextlib
import hashlib
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from llmops_kit.cli.pulumi_engine.version import FOLDER

_MODULES = ("language_host", "dynamic_provider", "provider_guard", "caller_guard", "warm_host")
_PYTHON = "python"
"""The file that names the Python to fall back to: `find-python.sh` reads it."""


def add_language_host(home: Path) -> Path:
    """Returns the folder with the engine of `home` and this kit's own plugins; creates it if it is missing."""
    files = {file.name: file for file in [*(FOLDER / "bin").iterdir(), *(FOLDER / f"{name}.py" for name in _MODULES)]}
    contents = {name: files[name].read_bytes() for name in sorted(files)}
    contents[_PYTHON] = f"{sys.executable}\n".encode()
    folder = home / "hosts" / _digest(*(part for name, text in contents.items() for part in (name.encode(), text)))
    if not folder.is_dir():
        _remove_unusable(home / "hosts")
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        _write(folder / name, content, mode=0o755 if name in files and not files[name].suffix else 0o644)
    _link_engine(home / "bin" / "pulumi", folder / "pulumi")
    _point(_link(home), folder)
    return folder


def path_folder(home: Path) -> Path:
    """Returns the folder for PATH: it follows this environment's kit when that is updated."""
    return _link(home)


def _link(home: Path) -> Path:
    return home / "hosts" / f"of-{_digest(sys.executable.encode())}"


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def _remove_unusable(hosts: Path) -> None:
    """Removes the folders of Pythons that no longer exist, and the links to them."""
    for entry in hosts.iterdir() if hosts.is_dir() else ():
        with contextlib.suppress(OSError):  # another process may be making or removing it
            if not Path((entry / _PYTHON).read_text().strip()).is_file():
                if entry.is_symlink():
                    entry.unlink()
                else:
                    shutil.rmtree(entry)
    for entry in hosts.iterdir() if hosts.is_dir() else ():
        if entry.is_symlink() and not entry.exists():
            entry.unlink(missing_ok=True)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replaces a file atomically, and only if it differs: an engine may be starting it."""
    if path.is_file() and path.read_bytes() == content:
        return
    with _replaced(path) as new:
        new.write_bytes(content)
        new.chmod(mode)


def _link_engine(engine: Path, target: Path) -> None:
    if target.is_file() and _stamp(target) == _stamp(engine):
        return
    with _replaced(target) as new:
        try:
            os.link(engine, new)
        except OSError:  # a file system without hard links
            shutil.copy2(engine, new)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _point(link: Path, folder: Path) -> None:
    if not (link.is_symlink() and link.readlink() == Path(folder.name)):
        with _replaced(link) as new:
            new.symlink_to(folder.name)


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Yields a path to write to, which then replaces `path` atomically."""
    new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    yield new
    new.replace(path)
    new.unlink(missing_ok=True)  # two links to one file: the replacement was none
