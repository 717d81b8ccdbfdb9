"""Stages on disk: each a folder of Parquet files that appears whole, named by what it was made from.

A preparation that was killed goes on after its last finished stage; other settings make anew what they change.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from contract.integrity.digest import list_files, sha256_bytes, tree_hash

_CODE = ("preparation", "training", "contract")


class Stages:
    """The stages of one preparation, one made from the other."""

    def __init__(self, folder: Path, inputs: str, say: Callable[[str], None]) -> None:
        """Uses a folder, which is made.

        Args:
            folder: keeps stages from one call to the next.
            inputs: what the first stage is made from; the code of the rules is added.
            say: told each stage.
        """
        self._folder, self._say = folder, say
        self._key = sha256_bytes(f"{inputs}\0{_code_hash()}".encode())
        self._used: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, settings: str, make: Callable[[Path], None]) -> Path:
        """Returns a stage's folder; `make` fills it unless it is there.

        Args:
            name: of the stage.
            settings: what it is made by, beside the stages before it.
            make: given an empty folder.
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
        """Removes what earlier calls with other inputs or settings left."""
        for entry in self._folder.iterdir():
            if entry.name not in self._used:
                shutil.rmtree(entry, ignore_errors=True)


def _code_hash() -> str:
    root = Path(__file__).resolve().parents[1]
    files = {
        f"{room}/{name}": path
        for room in _CODE
        for name, path in list_files(root / room).items()
        if name.endswith(".py")
    }
    return tree_hash(files)
