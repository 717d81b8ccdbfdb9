"""Reads, checks, samples and compares dataset versions in folders."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.errors import NotFoundError
from llmops_kit.core.hashes import sha256_bytes, sha256_file
from llmops_kit.core.integrity.digest import check_folder
from llmops_kit.core.layout import MANIFEST
from llmops_kit.training.data.lines import read_lines
from llmops_kit.training.data.rows import Row, parse_row, read_rows


@dataclass(frozen=True)
class DatasetFolder:
    """A dataset version in a folder, whose files match its manifest."""

    folder: Path
    manifest: DatasetManifest
    sha256: str

    @classmethod
    def open(cls, folder: Path) -> "DatasetFolder":
        """Checks a folder's files against its manifest.

        Raises:
            NotFoundError: it holds no manifest.
            IntegrityError: a file was changed, added or removed.
        """
        path = folder / MANIFEST
        if not path.is_file():
            fix = "`llmops data build RECIPE` creates one, and prints its folder"
            raise NotFoundError("holds no dataset version", where=str(folder), fix=fix)
        manifest = DatasetManifest.load(path)
        check_folder(folder, manifest.files)
        return cls(folder, manifest, sha256_file(path))

    def rows(self, split: str) -> Iterator[Row]:
        """Yields a split's rows, in order.

        Raises:
            NotFoundError: it has no such split.
        """
        yield from (row for _, row in read_rows(self._file(split)))

    def sample(self, split: str, count: int, seed: int = 0) -> list[Row]:
        """Returns rows drawn without replacement, in the order of the split; the same seed draws the same rows."""
        total = self.manifest.rows.get(split, 0)
        chosen = set(random.Random(seed).sample(range(total), min(count, total)))
        return [row for number, row in enumerate(self.rows(split)) if number in chosen]

    def lines(self, split: str) -> dict[str, bytes]:
        """Returns SHA-256 -> line of each of a split's lines; empty if it has no such split."""
        if split not in self.manifest.splits:
            return {}
        return {sha256_bytes(line): line for line in read_lines(self._file(split))}

    def _file(self, split: str) -> Path:
        if split not in self.manifest.splits:
            fix = f"it has {', '.join(self.manifest.splits)}"
            raise NotFoundError(f"has no split {split}", where=str(self.folder), fix=fix)
        return self.folder / self.manifest.splits[split]


def first_with_tools(dataset: Path) -> str:
    """Returns the location of a dataset version's first row with tools or calls; empty if there is none."""
    for file in DatasetManifest.load(dataset / MANIFEST).splits.values():
        path = dataset / file
        for number, line in enumerate(read_lines(path), start=1):
            if b'"tools": [' not in line and b'"tool_calls": [' not in line:
                continue
            row = parse_row(line.decode(), f"{path}:{number}")
            if row.tools or any(turn.tool_calls for turn in (*row.messages, *row.chosen, *row.rejected)):
                return f"{file}:{number}"
    return ""


def compare(first: DatasetFolder, second: DatasetFolder) -> list[dict[str, Any]]:
    """Returns the differences of two versions: for each split, the numbers of rows in both, in one only, and moved
    between splits.

    `moved` counts the second's rows of the split that are in another split of the first.
    """
    names = sorted({*first.manifest.splits, *second.manifest.splits})
    of_first, of_second = ({name: set(each.lines(name)) for name in names} for each in (first, second))
    everywhere = set().union(*of_first.values()), set().union(*of_second.values())
    return [
        {
            "split": name,
            "a": len(of_first[name]),
            "b": len(of_second[name]),
            "same": len(of_first[name] & of_second[name]),
            "added": len(of_second[name] - everywhere[0]),
            "removed": len(of_first[name] - everywhere[1]),
            "moved": len((of_second[name] - of_first[name]) & everywhere[0]),
        }
        for name in names
    ]


def compare_dropped(first: DatasetFolder, second: DatasetFolder) -> list[dict[str, Any]]:
    """Returns each reason for which either version dropped rows, with the numbers of both."""
    a, b = first.manifest.dropped, second.manifest.dropped
    return [{"dropped": reason, "a": a.get(reason, 0), "b": b.get(reason, 0)} for reason in sorted({*a, *b})]
