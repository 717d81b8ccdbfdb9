"""The folder filled by a collect: receipts of the last complete one, and a journal of the work since."""

import fcntl
import json
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from llmops_kit.cli.data.arrival import item_key
from llmops_kit.core.documents.collected import RECEIPTS, CollectedFile, read_receipts, to_lines
from llmops_kit.core.errors import KitError

WORK = ".partial"
"""Folder of files being fetched; files left by a killed collect are resumed."""
_JOURNAL, _LOCK = ".journal.jsonl", ".lock"
_OWN = (RECEIPTS, _JOURNAL, _LOCK)


class CollectedFolder:
    """A collected folder, held by one process while it is open."""

    def __init__(self, path: Path) -> None:
        """Names a folder.

        Args:
            path: empty, of an earlier collect, or missing.
        """
        self.path = path
        self._writing = threading.Lock()
        self._complete: dict[str, list[CollectedFile]] = defaultdict(list)
        self._known: dict[tuple[str, str], list[CollectedFile]] = defaultdict(list)

    def __enter__(self) -> Self:
        """Locks the folder, and reads its contents.

        Raises:
            KitError: it contains something else, or another process is filling it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not any((self.path / name).exists() for name in _OWN) and any(self.path.iterdir()):
            fix = "give an empty folder with --out: what is in it would be removed"
            raise KitError("is not a folder of `llmops data collect`", where=str(self.path), fix=fix)
        self._lock = (self.path / _LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            fix = "wait until it ends"
            raise KitError("another `llmops data collect` is filling it", where=str(self.path), fix=fix) from None
        self._drop_work_of_killed()
        for receipt in read_receipts(self.path / RECEIPTS):
            self._complete[_folder(receipt)].append(receipt)
            self._known[_folder(receipt), item_key(receipt)].append(receipt)
        for receipts in _read_journal(self.path / _JOURNAL):
            self._known[_folder(receipts[0]), item_key(receipts[0])] = receipts
        return self

    def __exit__(self, *_: object) -> None:
        """Releases the lock, so that another process can collect into the folder."""
        self._lock.close()

    def complete(self, folder: str) -> list[CollectedFile]:
        """Returns the receipts of a source's folder, if it was collected completely; otherwise none."""
        return self._complete[folder]

    def known(self, folder: str, key: str) -> list[CollectedFile]:
        """Returns the receipts of an item's files; none if it is new."""
        return self._known.get((folder, key), [])

    def note(self, receipts: list[CollectedFile]) -> None:
        """Records that an item was fetched, in one line, so that an archive's members are recorded all or none."""
        line = json.dumps([receipt.model_dump(mode="json", by_alias=True) for receipt in receipts])
        with self._writing, (self.path / _JOURNAL).open("a") as journal:
            journal.write(f"{line}\n")

    def finish(self, files: Iterable[CollectedFile]) -> list[CollectedFile]:
        """Writes the receipts, and removes every other file; returns the receipts in order."""
        ordered = sorted(files, key=lambda receipt: receipt.path)
        temporary = self.path / f"{_JOURNAL}.tmp"
        temporary.write_text(to_lines(ordered))
        temporary.replace(self.path / RECEIPTS)
        (self.path / _JOURNAL).unlink(missing_ok=True)
        shutil.rmtree(self.path / WORK, ignore_errors=True)
        wanted = {receipt.path for receipt in ordered} | set(_OWN)
        for base, _, names in os.walk(self.path, topdown=False):
            for name in names:
                if Path(base, name).relative_to(self.path).as_posix() not in wanted:
                    Path(base, name).unlink()
            if Path(base) != self.path and not any(Path(base).iterdir()):
                Path(base).rmdir()
        return ordered

    def _drop_work_of_killed(self) -> None:
        """Removes unpacked and prepared files of a killed collect, which are recreated; keeps the partial downloads."""
        for path in (self.path / WORK).glob("*"):
            if path.is_dir() and path.suffix != ".hub":
                shutil.rmtree(path, ignore_errors=True)


def _folder(receipt: CollectedFile) -> str:
    return receipt.path.partition("/")[0]


def _read_journal(path: Path) -> Iterable[list[CollectedFile]]:
    """Yields the journal's lines. Truncates an incomplete last line, left by a killed process, because more will
    follow.
    """
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    os.truncate(path, whole)
    for line in content[:whole].splitlines():
        yield [CollectedFile.model_validate(each) for each in json.loads(line)]
