"""Collect: fetches a recipe's sources, unmodified, into a folder with receipts.

Incremental: items whose revision is unchanged since the last collect are not fetched again. It can be interrupted at
any point: a file is written under a temporary name until it is complete, and a journal records the work since the last
complete collect.
"""

import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from llmops_kit.cli.data.arrival import Arrival, is_intact
from llmops_kit.cli.data.collect_progress import CollectProgress
from llmops_kit.cli.data.collected_folder import WORK, CollectedFolder
from llmops_kit.cli.data.items import FetchLimits, Item, Partial, SourceContext
from llmops_kit.cli.data.sources import find_items, is_pinned
from llmops_kit.core.documents.collected import CollectedFile, source_folder
from llmops_kit.core.documents.recipe_data import DataSource
from llmops_kit.core.errors import DataError, KitError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import cache_dir

_AT_ONCE = 8
_NO_LIMITS_GIVEN = FetchLimits()


class Collected(NamedTuple):
    """Files that were collected, each with its receipt.

    Attributes:
        folder: contains receipts.jsonl, and the files of each source below `source_folder(source)`.
        files: the receipts, in the order of their paths.
        fetched: number of items (files, or archives) fetched by this call; the others existed already.
    """

    folder: Path
    files: list[CollectedFile]
    fetched: int


def collect(
    sources: Sequence[DataSource],
    recipe_folder: Path,
    out: Path,
    *,
    secret: Callable[[str], str],
    say: Callable[[str], None],
    limits: FetchLimits = _NO_LIMITS_GIVEN,
) -> Collected:
    """Fetches new and changed files of sources; removes files that no source has any more.

    Args:
        sources: of a recipe.
        recipe_folder: paths are relative to it.
        out: a folder that is empty, missing, or of an earlier collect.
        secret: from a secret's name to its value; called for sources with a token.
        say: called with lines of progress.
        limits: of each source.

    Raises:
        DataError: a source that is listed twice, has no file, or one of an unknown format.
        IntegrityError: a hostile or damaged archive, or a file that changed while it was read.
        KitError: a source can't be reached, a package of the extra `data` is missing, or `out` is in use or holds
            something else.
    """
    folders = _folders(sources)
    with CollectedFolder(out) as folder:
        work = folder.path / WORK
        context = SourceContext(recipe_folder, work, secret, limits, say)
        files: list[CollectedFile] = []
        progress, stop = CollectProgress(say), threading.Event()
        for index, (name, source) in enumerate(folders.items()):
            own = replace(context, work=work / f"work-{index}")
            try:
                files += _SourceRun(source, name, folder, own, progress, stop).run()
            except KitError as e:
                raise type(e)(e.what, where=f"data.sources.{index}: {e.where}", fix=e.fix) from e
        return Collected(out, folder.finish(files), progress.fetched)


def require_collected(sources: Sequence[DataSource], out: Path) -> None:
    """Checks that a folder holds every source of a recipe, unchanged since a complete collect; contacts no source.

    Args:
        sources: of a recipe.
        out: the folder of an earlier collect.

    Raises:
        KitError: a source is not in it, or one of its files was changed; or another process fills it.
    """
    with CollectedFolder(out) as folder:
        for index, (name, source) in enumerate(_folders(sources).items()):
            receipts = folder.complete(name)
            if not receipts or not all(is_intact(receipt, folder.path) for receipt in receipts):
                raise KitError(
                    f"{source.source} {'was changed since it was collected' if receipts else 'was not collected'}",
                    where=f"data.sources.{index}: {out}",
                    fix=f"`llmops data collect RECIPE --out {out}`",
                )


def default_folder(recipe: Path) -> Path:
    """Returns the default folder of a recipe's collected data: in this machine's cache, one for each recipe file.

    Args:
        recipe: the recipe's path.
    """
    return cache_dir() / "collected" / f"{recipe.stem}-{sha256_bytes(str(recipe.resolve()).encode())[:10]}"


def _folders(sources: Sequence[DataSource]) -> dict[str, DataSource]:
    found: dict[str, DataSource] = {}
    for index, source in enumerate(sources):
        name = source_folder(source)
        if name in found:
            raise DataError("is listed twice", where=f"data.sources.{index}: {source.source}", fix="list it once")
        found[name] = source
    return found


@dataclass
class _SourceRun:
    """Fetches one source into its folder, and writes a receipt for each file."""

    source: DataSource
    name: str
    folder: CollectedFolder
    context: SourceContext
    progress: CollectProgress
    stop: threading.Event

    def run(self) -> list[CollectedFile]:
        """Fetches new and changed files; returns the receipts of all files of the source."""
        if is_pinned(self.source) and (there := self._kept(self.folder.complete(self.name))):
            return there
        self.context.work.mkdir(parents=True, exist_ok=True)
        try:
            most = self.context.limits.files
            items = list(islice(find_items(self.source, self.context), most + 1))
            if len(items) > most:
                what = f"has more than {most} files"
                raise DataError(what, where=self.source.source, fix="name a deeper folder, or divide it")
            self.progress.begin(self.source.source.partition("?")[0], len(items))
            return self._fetch_all(items)
        finally:
            shutil.rmtree(self.context.work, ignore_errors=True)

    def _fetch_all(self, items: Iterable[Item]) -> list[CollectedFile]:
        files: list[CollectedFile] = []
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            futures = [pool.submit(self._fetch, item) for item in items]
            try:
                for future in as_completed(futures):
                    files += future.result()
            except BaseException:
                self.stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        return files

    def _fetch(self, item: Item) -> list[CollectedFile]:
        there = self._kept(self.folder.known(self.name, item.key))
        if not there or not item.revision or there[0].revision != item.revision:
            partial = self._partial(item)
            revision = item.fetch(partial, there[0].revision if there else "")
            if partial.path.exists():
                limits = self.context.limits
                arrival = Arrival(self.source, self.folder.path, self.name, limits)
                there = arrival.receive(item, partial.path, revision)
                partial.remove()
                self.folder.note(there)
                self.progress.add_file(fetched=True)
                return there
        self.progress.add_file(fetched=False)
        return there

    def _partial(self, item: Item) -> Partial:
        name = sha256_bytes(f"{self.name}/{item.key}".encode())[:32]
        path = self.folder.path / WORK / f"{name}{Path(item.key).suffix[:20]}"
        return Partial(path, item.url, self.context.limits.file, self.stop, self.progress.add_bytes)

    def _kept(self, receipts: list[CollectedFile]) -> list[CollectedFile]:
        """Returns the receipts, with the recipe's licence, if all of their files exist unchanged; otherwise none."""
        if not all(is_intact(receipt, self.folder.path) for receipt in receipts):
            return []
        return [receipt.model_copy(update={"licence": self.source.licence}) for receipt in receipts]
