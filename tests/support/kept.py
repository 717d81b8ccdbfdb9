"""What tests keep on this machine between runs, by the content of everything that it was made from.

Code that trains is slow and seldom changed: what its scripts print is kept, and the tests go on to check it.
`LLMOPS_TESTS_AFRESH=1 make test` runs every script again.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from llmops_kit.core.integrity.digest import list_files, tree_hash
from llmops_kit.core.layout import cache_dir
from tests.support.checkout import CHECKOUT
from tests.support.sources import sources_key

AFRESH = "LLMOPS_TESTS_AFRESH"
_KEPT_SECONDS = 7 * 86_400
_LOCKS = tuple(
    CHECKOUT / "requirements" / f"{name}.txt" for name in ("dev", "training", "training-tensorflow", "export")
)
_READ = ("hosting", "recipes", "training")
"""Rooms whose files a script may read beside its modules, such as recipes."""


def kept_folder(kind: str, key: str, make: Callable[[Path], object], afresh: bool = False) -> Path:
    """The folder of a kind and key, which `make` makes where it is not there yet; `afresh`: or is there from before.

    `make` gets another name, which the folder loses when it is complete.
    """
    folder = cache_dir() / "tests" / kind / key
    unfinished = folder.with_name(folder.name + ".unfinished")
    with _locked(folder):
        if afresh:
            shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(folder)
            _prune(folder.parent)
        os.utime(folder)
    return folder


def kept_result(script: Path, *arguments: object, run: Callable[..., Any]) -> Any:
    """The JSON that a script prints, by `run`, if nothing is kept of the same script with arguments of equal content.

    Args:
        script: its answer must depend on nothing but what `content_key` hashes; so nothing of processes that race, nor
            of what a busy machine changes.
        arguments: text, or the paths of files and folders.
        run: takes the script and the arguments.
    """

    def make(folder: Path) -> None:
        (folder / "result.json").write_text(json.dumps(run(script, *arguments)))

    folder = kept_results(script.stem, content_key(script, arguments=arguments), make)
    return json.loads((folder / "result.json").read_text())


def kept_results(name: str, key: str, make: Callable[[Path], object]) -> Path:
    """The folder of what was computed, which `make` fills where nothing is kept."""

    def fill(folder: Path) -> None:
        folder.mkdir()
        make(folder)

    return kept_folder("results", f"{name}-{key}", fill, afresh=AFRESH in os.environ)


def content_key(*scripts: Path, arguments: Iterable[object] = ()) -> str:
    """A hash of scripts, the modules that they import, the files beside the product's modules, the locks, Python, the
    processor, and of arguments: text, or the paths of files and folders.
    """
    modules = (".".join(script.relative_to(CHECKOUT).with_suffix("").parts) for script in scripts)
    key = hashlib.sha256(sources_key(*modules, others=(*_LOCKS, *_read())).encode())
    for part in (sys.version, _processor(), *map(_content, arguments)):
        key.update(part.encode() + b"\0")
    return key.hexdigest()[:16]


def _read() -> list[Path]:
    files = [path for room in _READ for path in (CHECKOUT / room).rglob("*") if path.is_file()]
    return sorted(path for path in files if path.suffix not in (".py", ".pyc"))


def _content(argument: object) -> str:
    if not isinstance(argument, Path):
        return str(argument)
    return tree_hash(list_files(argument) if argument.is_dir() else {"": argument})


@cache
def _processor() -> str:
    """The processor's model and abilities, which decide on precisions, and the number of processors."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return "\n".join([*told, str(len(os.sched_getaffinity(0)))])


def _prune(folder: Path) -> None:
    """Removes what no test has used for a week: each change of the code makes new ones."""
    for path in folder.iterdir():
        if path.is_dir() and time.time() - path.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
