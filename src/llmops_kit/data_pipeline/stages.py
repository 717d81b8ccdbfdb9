"""Stages on disk: each is a folder of Parquet files that appears as a whole, named by a hash of its inputs.

A killed preparation resumes after its last finished stage; changed settings recompute only the stages that depend on
them.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.integrity.digest import list_files, tree_hash
from llmops_kit.core.programs import package_folder

_CODE = ("data_pipeline", "training", "core")


class Stages:
    """The stages of one preparation, each made from the one before."""

    def __init__(self, folder: Path, inputs: str, say: Callable[[str], None]) -> None:
        """Uses a folder, which is created if missing.

        Args:
            folder: keeps stages from one call to the next.
            inputs: inputs of the first stage; the code of the rules is added.
            say: called with each stage.
        """
        self._folder, self._say = folder, say
        self._key = sha256_bytes(f"{inputs}\0{_code_hash()}".encode())
        self._used: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, settings: str, make: Callable[[Path], None]) -> Path:
        """Returns a stage's folder; `make` fills it unless it exists.

        Args:
            name: of the stage.
            settings: the stage's settings, in addition to the stages before it.
            make: called with an empty folder.
        """
        self._key = sha256_bytes(f"{self._key}\0{name}\0{settings}".encode())
        final = self._folder / f"{name}-{self._key[:16]}"
        self._used.add(final.name)
        if final.is_dir():
            self._say(f"{name}: kept from before")
            return final
        partial = self._folder / f".{final.name}.{os.getpid()}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            make(partial)
            partial.rename(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return final

    def forget_others(self) -> None:
        """Removes stages of earlier calls with other inputs or settings."""
        for entry in self._folder.iterdir():
            if entry.name not in self._used:
                shutil.rmtree(entry, ignore_errors=True)


def _code_hash() -> str:
    files = {
        f"{room}/{name}": path
        for room in _CODE
        for name, path in list_files(package_folder(room)).items()
        if name.endswith(".py")
    }
    return tree_hash(files)
