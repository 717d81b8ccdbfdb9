"""Prepare: from a collected folder to a dataset version."""

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from llmops_kit.core.documents.dataset import DatasetManifest, StageCount
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.errors import DataError
from llmops_kit.core.hashes import sha256_file
from llmops_kit.core.integrity.digest import file_entries
from llmops_kit.core.layout import MANIFEST
from llmops_kit.data_pipeline.engine import ExaminedRows, InProcess, RowEngine
from llmops_kit.data_pipeline.examine import Examined, shown
from llmops_kit.data_pipeline.reading import FaultyRows, name_of, source_entries
from llmops_kit.data_pipeline.split_files import SplitFiles
from llmops_kit.data_pipeline.splits import SPLITS, Placed, duplicates, leaks, split_rows
from llmops_kit.data_pipeline.texts import prose_of
from llmops_kit.training.data.rows import check_kind, parse_row

_EXAMPLES = 5
_OF_PLACED = Placed._fields[3:]  # those of Examined
_FAULTY = "can't be used"


def prepare(
    recipe: Recipe,
    recipe_folder: Path,
    collected: Path,
    target: Path,
    *,
    engine: RowEngine | None = None,
    ner: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> str:
    """Reads, checks, filters, deduplicates and splits rows, and writes them with manifest.json. Equal files give equal
    bytes.

    Args:
        recipe_folder: what the recipe's paths are relative to.
        collected: the folder that `llmops data collect` filled for the recipe.
        target: the dataset version's folder; must not exist. It appears whole or not at all.
        engine: processes the rows; None: in this process, for recipes without `data.prepare`.
        ner: the model version by which the engine finds personal data; None: no model.
        say: told how many rows are left after each stage.

    Returns:
        The version's identity: the manifest's sha256.

    Raises:
        DataError: rows that can't be used or are of another kind than the recipe's method trains, a group in two splits
            or with too few prompts, or nothing left to train.
        IntegrityError: a file was changed since it was collected.
    """
    if target.exists():
        raise DataError("exists already", where=str(target), fix="give a folder that does not exist")
    engine = engine or InProcess(recipe.data, collected, lambda file: name_of(file, recipe_folder))
    made = _Preparation(recipe, recipe_folder, engine, say)
    splits = made.select()
    work = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        work.mkdir(parents=True)
        made.write(work, splits, collected, ner)
        identity = sha256_file(work / MANIFEST)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return identity


class _Preparation:
    """One preparation: the kept rows, the dropped ones, and why."""

    def __init__(self, recipe: Recipe, folder: Path, engine: RowEngine, say: Callable[[str], None]) -> None:
        self._recipe, self._folder, self._engine, self._say = recipe, folder, engine, say
        self._stages: list[StageCount] = []
        self._dropped: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = defaultdict(list)
        self._shown_later: dict[int, str] = {}  # number of a row -> the reason that it is an example of
        self._redacted: Counter[str] = Counter()
        self._languages: dict[int, str] = {}
        self._tokens: dict[int, int] = {}
        self._source_rows = [0] * len(recipe.data.sources)

    def select(self) -> dict[str, list[Placed]]:
        """Returns the rows of each split.

        Raises:
            DataError: as for `prepare`.
        """
        wanted = self._recipe.data.prepare
        rows = self._examine()
        rows = self._drop(rows, dict.fromkeys(duplicates(rows), "duplicate"), "duplicates")
        if wanted.near_duplicates:
            kept = {row.number for row in rows}
            left_out = [number for number in range(self._stages[0].rows) if number not in kept]
            found = self._engine.near_duplicates(left_out)
            rows = self._drop(rows, dict.fromkeys(found, "near duplicate"), "near duplicates")
        splits = split_rows(rows, self._recipe.data.split)
        for placed in (*splits["train"], *splits["validation"]):
            check_kind(placed.kind, self._recipe.training, placed.where)
        splits = self._drop_from(splits, leaks(splits), "held-out prompts")
        if wanted.overlap_words:
            trained = [row.number for row in splits["train"]]
            held_out = [row.number for name in SPLITS if name != "train" for row in splits[name]]
            found = self._engine.overlapping(trained, held_out) if trained and held_out else []
            reason = f"train: shares {wanted.overlap_words} words with a held-out row"
            splits = self._drop_from(splits, dict.fromkeys(found, reason), "held-out words")
        if not splits["train"]:
            raise self._nothing_left("no rows are left to train", "data.split", "hold fewer rows out")
        return splits

    def write(self, folder: Path, splits: dict[str, list[Placed]], collected: Path, ner: Path | None) -> None:
        """Writes the splits' files and the manifest."""
        recipe, key = self._recipe, self._recipe.data.split.group
        kept = {name: placed for name, placed in splits.items() if placed}
        files = {name: SplitFiles(folder, name) for name in kept}
        try:
            self._write_rows({files[name]: placed for name, placed in kept.items()})
        finally:
            for file in files.values():
                file.close()
        languages = Counter(self._languages.get(p.number, "") for placed in kept.values() for p in placed)
        tokens = {name: [self._tokens.get(p.number, 0) for p in placed] for name, placed in kept.items()}
        DatasetManifest.new(
            name=recipe.name,
            sources=source_entries(recipe.data, collected, self._source_rows),
            splits={name: file.key for name, file in files.items()},
            rows={name: len(placed) for name, placed in kept.items()},
            group=key,
            groups={name: len({p.group for p in placed} - {b""}) for name, placed in kept.items()},
            dropped=dict(sorted(self._dropped.items())),
            stages=self._stages,
            examples={reason: texts for reason, texts in sorted(self._examples.items()) if texts},
            redacted=dict(sorted(self._redacted.items())),
            ner_model=sha256_file(ner / MANIFEST) if ner else None,
            languages=dict(sorted(languages.items())) if self._languages else {},
            tokens={name: sum(counts) for name, counts in tokens.items()} if self._tokens else {},
            token_histogram={name: _histogram(counts) for name, counts in tokens.items()} if self._tokens else {},
            files=file_entries(folder),
        ).write(folder / MANIFEST)

    def _write_rows(self, files: dict[SplitFiles, list[Placed]]) -> None:
        """Writes each split's rows, and takes the examples of dropped ones."""
        import pyarrow as pa
        import pyarrow.compute

        pc: Any = pyarrow.compute  # whose functions pyright does not see
        numbered = bytearray(self._stages[0].rows)  # of each row: the number of its file, from 1
        for at, placed in enumerate(files.values(), start=1):
            for row in placed:
                numbered[row.number] = at
        file_of = pa.Array.from_buffers(pa.uint8(), len(numbered), [None, pa.py_buffer(numbered)])
        shown_later = pa.array(self._shown_later, pa.int64())
        for numbers, lines in self._engine.lines():
            chosen = file_of.take(numbers)
            for at, file in enumerate(files, start=1):
                file.add(lines.filter(pc.equal(chosen, at)))
            examples = pc.is_in(numbers, shown_later)
            for number, line in zip(*(each.filter(examples).to_pylist() for each in (numbers, lines)), strict=True):
                reason = self._shown_later[number]
                self._examples[reason].append(shown(prose_of(parse_row(line, reason))))

    def _examine(self) -> list[Placed]:
        """Returns the rows that pass the rules for single rows."""
        faults = FaultyRows(self._recipe.data.faulty_rows)
        rows: list[Placed] = []
        for some in self._engine.examined():
            both = zip(some.said["fault"], some.said["reason"], strict=True)
            left_out = {at for at, (fault, reason) in enumerate(both) if fault or reason}
            for at in sorted(left_out):
                self._leave_out(Examined(**{name: column[at] for name, column in some.said.items()}), faults)
            for fault, source in zip(some.said["fault"], some.sources, strict=True):
                self._source_rows[source] += not fault
            rows += self._placed(some, left_out)
        faults.rows = sum(self._source_rows)
        faults.check()
        if faults.count:
            self._dropped[_FAULTY] = faults.count
        self._count("read", faults.rows + faults.count)
        self._count("usable", faults.rows)
        self._count("filters", len(rows))
        if not rows:
            raise self._nothing_left("no rows are left", "data.sources", "give files with rows")
        return rows

    def _add_example(self, reason: str, example: str) -> None:
        if len(self._examples[reason]) < _EXAMPLES:
            self._examples[reason].append(example)

    def _leave_out(self, said: Examined, faults: FaultyRows) -> None:
        """Counts a row that can't be used or that a rule drops."""
        if not said.fault:
            self._dropped[said.reason] += 1
            self._add_example(said.reason, said.example)
            return
        faults.add(DataError(said.fault, where=said.fault_where, fix=said.fix))
        # An absolute path would give the same rows another version on another machine.
        place = said.fault_where.removeprefix(f"{self._folder}/")
        self._add_example(_FAULTY, f"{place}: {said.example}")

    def _placed(self, rows: ExaminedRows, left_out: set[int]) -> list[Placed]:
        """Returns the rows but those at some indices, and counts what was found in them."""

        def kept(column: list[Any]) -> list[Any]:
            return [value for at, value in enumerate(column) if at not in left_out] if left_out else column

        said, numbers = rows.said, kept(rows.numbers)
        for kinds in filter(None, kept(said["redacted"])):
            self._redacted.update(kinds.split())
        for name, found in (("language", self._languages), ("tokens", self._tokens)):
            found.update(pair for pair in zip(numbers, kept(said[name]), strict=True) if pair[1])
        splits = [self._recipe.data.sources[source].split for source in kept(rows.sources)]
        return list(map(Placed, numbers, kept(rows.places), splits, *(kept(said[name]) for name in _OF_PLACED)))

    def _drop(self, rows: list[Placed], why: dict[int, str], stage: str) -> list[Placed]:
        kept = [row for row in rows if row.number not in why]
        for number, reason in sorted(why.items()):
            self._dropped[reason] += 1
            if self._dropped[reason] <= _EXAMPLES:
                self._shown_later[number] = reason
        self._count(stage, len(kept))
        return kept

    def _drop_from(self, splits: dict[str, list[Placed]], why: dict[int, str], stage: str) -> dict[str, list[Placed]]:
        kept = {row.number for row in self._drop([row for rows in splits.values() for row in rows], why, stage)}
        return {name: [row for row in rows if row.number in kept] for name, rows in splits.items()}

    def _count(self, stage: str, rows: int) -> None:
        self._stages.append(StageCount(stage=stage, rows=rows))
        self._say(f"{stage}: {rows} rows")

    def _nothing_left(self, what: str, where: str, fix: str) -> DataError:
        """Returns an error that names the reason by which most rows were dropped, if any were."""
        if not self._dropped:
            return DataError(what, where=where, fix=fix)
        reason, count = self._dropped.most_common(1)[0]
        total = sum(self._dropped.values())
        return DataError(
            f"{what}: {total} were dropped, {count} of them for {reason!r}",
            where="data.prepare" if not self._recipe.data.prepare.is_off else where,
            fix=f"loosen the rules that drop them, or {fix}",
        )


def _histogram(counts: Iterable[int]) -> list[int]:
    """Returns how many counts have n bits, by n: 0, 1, 2-3, 4-7, and so on."""
    bits = Counter(count.bit_length() for count in counts)
    return [bits[length] for length in range(max(bits, default=0) + 1)]
