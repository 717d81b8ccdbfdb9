"""Prepare: from a collected folder to a dataset version."""

import hashlib
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from contract.documents.collected import RECEIPTS, CollectedFile, read_receipts, source_folder
from contract.documents.dataset import DatasetManifest, SourceEntry
from contract.documents.recipe import Recipe
from contract.documents.recipe_data import Data, DataSource, Split, SplitName
from contract.errors import DataError, IntegrityError
from contract.integrity.digest import file_entries, sha256_bytes, sha256_file
from contract.layout import MANIFEST
from training.readers.reader import read
from training.rows import Row, asked_words, check_kind, group_of, prompt_of, row_of
from training.words import fold

_SHOWN_FAULTS = 5
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test", "rephrased")


@dataclass(frozen=True)
class Placed:
    """A row, where it stands, for errors, the split that its source names, if any, and its group (`group_of`)."""

    row: Row
    where: str
    split: str
    group: str

    @cached_property
    def prompt(self) -> str:
        """The prompt, folded: two rows with the same one ask the same."""
        return prompt_of(self.row)

    @cached_property
    def asked(self) -> str:
        """The prompt's words."""
        return asked_words(self.prompt)


def prepare(recipe: Recipe, collected: Path, target: Path, shown: Callable[[CollectedFile], str]) -> str:
    """Read, check, deduplicate and split rows; write `<split>.jsonl` and manifest.json. Equal files give equal bytes.

    Args:
        collected: the folder that `llmops data collect` filled for the recipe.
        target: the dataset version's folder; must not exist. It appears whole or not at all.
        shown: what errors call a collected file.

    Returns:
        The version's identity: the manifest's sha256.

    Raises:
        DataError: rows that can't be used or are of another kind than the recipe's method trains, a group in two splits
            or with too few prompts, or nothing left to train.
        IntegrityError: a file was changed since it was collected.
    """
    if target.exists():
        raise DataError("exists already", where=str(target), fix="give a folder that does not exist")
    rows, entries, dropped = _read(recipe.data, collected, shown)
    splits = split_rows(rows, recipe.data.split)
    for placed in (*splits["train"], *splits["validation"]):
        check_kind(placed.row, recipe.training.method, placed.where)
    dropped += drop_leaks(splits)
    if not splits["train"]:
        raise DataError("no rows are left to train", where="data.split", fix="hold fewer rows out")
    work = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        work.mkdir(parents=True)
        _write(recipe, work, splits, entries, dropped)
        identity = sha256_file(work / MANIFEST)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return identity


def _write(
    recipe: Recipe, folder: Path, splits: dict[str, list[Placed]], sources: list[SourceEntry], dropped: Counter[str]
) -> None:
    key = recipe.data.split.group
    kept = {name: placed for name, placed in splits.items() if placed}
    for name, placed in kept.items():
        (folder / f"{name}.jsonl").write_text("".join(p.row.to_line() for p in placed))
    DatasetManifest.new(
        name=recipe.name,
        sources=sources,
        splits={name: f"{name}.jsonl" for name in kept},
        rows={name: len(placed) for name, placed in kept.items()},
        group=key,
        groups={name: len({p.group for p in placed} - {""}) for name, placed in kept.items()},
        dropped=dict(sorted(dropped.items())),
        files=file_entries(folder),
    ).write(folder / MANIFEST)


def split_rows(rows: list[Placed], split: Split) -> dict[str, list[Placed]]:
    """Hold groups and prompts out, chosen by hash: adding a group moves no other that is held out by number.

    Raises:
        DataError: fewer groups or prompts than are held out, or sources that place one group in two splits.
    """
    by_group: dict[str, list[Placed]] = defaultdict(list)
    for placed in rows:
        if placed.group:
            by_group[placed.group].append(placed)
    split_of = _placed_by_source(by_group)
    free = sorted(set(by_group) - set(split_of), key=lambda group: _rank(split.seed, group))
    test, validation = _number(split.test, len(free)), _number(split.validation, len(free))
    if test + validation and test + validation >= len(free):
        raise DataError(
            f"{test + validation} groups are to be held out, but there are {len(free)}",
            where="data.split.test" if test else "data.split.validation",
            fix="add rows of other groups, or hold fewer out",
        )
    split_of |= dict.fromkeys(free[:test], "test") | dict.fromkeys(free[test : test + validation], "validation")
    rephrased: set[tuple[str, str]] = set()
    for group, placed in by_group.items():
        if split.rephrased and split_of.get(group, "train") == "train":
            rephrased |= {(group, prompt) for prompt in _held_out(group, placed, split)}
    result: dict[str, list[Placed]] = {name: [] for name in SPLITS}
    for placed in rows:
        name = split_of.get(placed.group, placed.split or "train")
        result["rephrased" if (placed.group, placed.prompt) in rephrased else name].append(placed)
    return result


def drop_leaks(splits: dict[str, list[Placed]]) -> Counter[str]:
    """Take rows out of `train` and `validation` that ask what a held-out row asks, however it is spelled.

    Returns:
        Reason -> how many were dropped.
    """
    dropped: Counter[str] = Counter()
    for held_out, others in (("test", ("validation", "train")), ("rephrased", ("train",)), ("validation", ("train",))):
        asked = {placed.asked for placed in splits[held_out]}
        for name in others:
            kept = [placed for placed in splits[name] if placed.asked not in asked]
            if len(kept) < len(splits[name]):
                dropped[f"{name}: also asked in {held_out}"] += len(splits[name]) - len(kept)
                splits[name] = kept
    return dropped


def _placed_by_source(by_group: dict[str, list[Placed]]) -> dict[str, str]:
    """Group -> the split that its rows' source names, if it does."""
    found: dict[str, Placed] = {}
    for group, rows in by_group.items():
        for placed in rows:
            other = found.setdefault(group, placed) if placed.split else placed
            if other.split != placed.split:
                raise DataError(
                    f"is of group {group!r:.80} in split {placed.split!r}; {other.where} puts it into {other.split!r}",
                    where=placed.where,
                    fix="move all rows of the group into one file, or leave `split` out of one source",
                )
    return {group: placed.split for group, placed in found.items()}


def _number(wanted: float, groups: int) -> int:
    """How many groups a share or a number is."""
    if wanted >= 1 or not wanted:
        return int(wanted)
    return max(1, round(wanted * groups))


def _read(
    data: Data, collected: Path, shown: Callable[[CollectedFile], str]
) -> tuple[list[Placed], list[SourceEntry], Counter[str]]:
    rows: list[Placed] = []
    entries: list[SourceEntry] = []
    dropped: Counter[str] = Counter()
    known: dict[str, set[str]] = defaultdict(set)
    faults = FaultyRows(data.faulty_rows)
    receipts = read_receipts(collected / RECEIPTS)
    for source in data.sources:
        files = [file for file in receipts if file.path.startswith(f"{source_folder(source)}/")]
        count = 0
        for file in files:
            for placed in _read_file(collected, file, source, data.split.group, shown(file), faults):
                count += 1
                if reason := _reason_to_drop(placed, known[placed.prompt], data.max_characters):
                    dropped[reason] += 1
                else:
                    rows.append(placed)
                    known[placed.prompt].add(_answers(placed.row))
        name = source.source.partition("?")[0]
        entries.append(SourceEntry(source=name, sha256=_identity(files), rows=count, licence=source.licence))
    faults.check()
    if faults.count:
        dropped["can't be used"] = faults.count
    if not rows:
        raise DataError("no rows are left", where="data.sources", fix="give files with rows")
    return rows, entries, dropped


def _read_file(
    collected: Path, file: CollectedFile, source: DataSource, group: str, name: str, faults: "FaultyRows"
) -> Iterator[Placed]:
    path = collected / file.path
    if sha256_file(path) != file.sha256:
        raise IntegrityError("was changed since it was collected", where=str(path), fix="repeat the command")
    for where, data, fault in read(path, name=name, languages=source.languages):
        try:
            if fault or data is None:
                raise fault or DataError("holds no row", where=where)
            row = row_of(data, where)
        except DataError as e:
            faults.add(e)
        else:
            faults.rows += 1
            yield Placed(row, where, source.split, group_of(row, group))


class FaultyRows:
    """Rows that can't be used: an error if they are more than a share of all."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._first: list[DataError] = []
        self.count = self.rows = 0

    def add(self, error: DataError) -> None:
        """Count one.

        Raises:
            DataError: it, where none is tolerated.
        """
        if not self._share:
            raise error
        self.count += 1
        if len(self._first) < _SHOWN_FAULTS:
            self._first.append(error)

    def check(self) -> None:
        """See that they are few enough.

        Raises:
            DataError: naming the first ones.
        """
        if self.count > self._share * (self.count + self.rows):
            lines = "".join(f"\n  {error.where}: {error.what}" for error in self._first)
            raise DataError(
                f"{self.count} of {self.count + self.rows} rows can't be used; data.faulty_rows tolerates a share of "
                f"{self._share:g}. The first:{lines}",
                where="data.sources",
                fix=self._first[0].fix or "correct the rows, or raise data.faulty_rows",
            )


def _identity(files: list[CollectedFile]) -> str:
    if len(files) == 1:
        return files[0].sha256
    return sha256_bytes("".join(f"{file.path}\0{file.sha256}\n" for file in files).encode())


def _reason_to_drop(placed: Placed, answers: set[str], max_characters: int) -> str:
    row = placed.row
    texts = [turn.content for turn in (*row.messages, *row.chosen, *row.rejected)]
    if sum(map(len, (*texts, row.text, *row.translation.values()))) > max_characters:
        return f"longer than {max_characters} characters"
    return "duplicate" if _answers(row) in answers else ""


def _answers(row: Row) -> str:
    """What a row teaches to answer, folded: two rows that ask the same, and have the same of these, are duplicates."""
    turns = [*row.turns[-1:], *(turn.to_dict() for turn in row.rejected)]
    return fold(json.dumps(turns, sort_keys=True, ensure_ascii=False))


def _held_out(group: str, placed: list[Placed], split: Split) -> list[str]:
    prompts = sorted({p.prompt for p in placed}, key=lambda prompt: _rank(split.seed, f"{group}\0{prompt}"))
    if len(prompts) <= split.rephrased:
        raise DataError(
            f"group {group!r:.80} has {len(prompts)} prompts; with {split.rephrased} held out, none is trained",
            where=placed[0].where,
            fix="add other phrasings, or lower data.split.rephrased",
        )
    return prompts[: split.rephrased]


def _rank(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed}\0{text}".encode()).hexdigest()
