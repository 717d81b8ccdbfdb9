"""Moves a fetched file into the collected folder, as one or several files with receipts."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from llmops_kit.cli.data.items import FetchLimits, Item
from llmops_kit.cli.data.sources import files_choose_items
from llmops_kit.cli.data.unpacking import unpack
from llmops_kit.core.documents.collected import CollectedFile
from llmops_kit.core.documents.recipe_data import DataSource
from llmops_kit.core.errors import DataError
from llmops_kit.core.hashes import sha256_file
from llmops_kit.data_pipeline.readers.formats import format_of, is_archive


class Arrival:
    """Receives files of one source into its folder.

    Args:
        source: the recipe's source.
        out: the collected folder.
        folder: the source's folder, below it.
        limits: of an archive's content.
    """

    def __init__(self, source: DataSource, out: Path, folder: str, limits: FetchLimits) -> None:
        self._source, self._out, self._folder, self._limits = source, out, folder, limits

    def receive(self, item: Item, fetched: Path, revision: str) -> list[CollectedFile]:
        """Gives a fetched file its name, or an archive's members theirs; replaces existing files of these names.

        Raises:
            DataError: `files` is set, and the file is not an archive; or a member has an unknown format.
            IntegrityError: the archive is damaged or hostile.
        """
        path = f"{self._folder}/{item.key}"
        target = self._out / path
        members = "" if files_choose_items(self._source) else self._source.files
        if not is_archive(item.key):
            if members:
                what, fix = "`files` has no effect: this is not an archive", "write the glob into `source`"
                raise DataError(what, where=item.url, fix=fix)
            receipts = [self._receipt(item, path, "", fetched, revision)]
        else:
            unpacked = fetched.with_name(f"{fetched.name}.unpacked")
            shutil.rmtree(unpacked, ignore_errors=True)
            found = unpack(fetched, item.key, unpacked, members, self._limits)
            receipts = [self._receipt(item, f"{path}/{m}", m, file, revision) for m, file in sorted(found.items())]
            fetched.unlink()
            fetched = unpacked
        _clear(target, self._out)
        fetched.replace(target)
        return receipts

    def _receipt(self, item: Item, path: str, member: str, file: Path, revision: str) -> CollectedFile:
        now = datetime.now(UTC).replace(microsecond=0)
        os.utime(file, (now.timestamp(), now.timestamp()))
        return CollectedFile.new(
            source=self._source.source.partition("?")[0] if item.url.startswith("https:") else self._source.source,
            path=path,
            url=item.url,
            member=member,
            revision=revision,
            bytes=file.stat().st_size,
            rows=_count_rows(file, path),
            sha256=sha256_file(file),
            licence=self._source.licence,
            fetched_at=now,
        )


def is_intact(receipt: CollectedFile, out: Path) -> bool:
    """Returns whether the file of a receipt exists and is unchanged."""
    path = out / receipt.path
    if path.is_symlink() or not path.is_file():
        return False
    found = path.stat()
    return found.st_size == receipt.bytes and found.st_mtime == receipt.fetched_at.timestamp()


def item_key(receipt: CollectedFile) -> str:
    """Returns the key of the item that a file came with, below its source's folder."""
    below = receipt.path.partition("/")[2]
    return below.removesuffix(f"/{receipt.member}") if receipt.member else below


def _count_rows(file: Path, name: str) -> int | None:
    """Returns the number of rows if it is known without parsing; None otherwise."""
    found = format_of(name)
    if found in (".jsonl", ".ndjson", ".capture.jsonl") and name.lower().endswith(found):
        with file.open("rb") as lines:
            return sum(1 for line in lines if line.strip())
    if found == ".parquet":
        import pyarrow
        from pyarrow.parquet import read_metadata

        try:
            return read_metadata(file).num_rows
        except (pyarrow.ArrowException, OSError, ValueError):
            return None  # its reader reports the error
    return None


def _clear(target: Path, out: Path) -> None:
    """Removes what exists at the path of a new file or folder; creates its parent folders."""
    for above in reversed(target.relative_to(out).parents[:-1]):
        if (out / above).is_file():
            (out / above).unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
