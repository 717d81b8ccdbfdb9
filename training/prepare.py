"""Prepare: from collected sources to a dataset version; the same input gives the same bytes."""

import hashlib
import os
import re
import shutil
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from contract.documents.dataset import DatasetManifest, SourceEntry
from contract.documents.recipe import Data, Recipe, Split
from contract.errors import DataError
from contract.integrity.digest import file_entries, sha256_file
from contract.layout import MANIFEST
from training.collect import collect
from training.rows import Row, fold, read_rows

SPLITS = ("train", "new_phrasings", "new_facts")


class Placed(NamedTuple):
    """A row and where it stands, for errors."""

    row: Row
    where: str

    @property
    def question(self) -> str:
        """The prompt, folded: two rows with the same one ask the same."""
        return "\n".join(f"{m['role']}: {fold(m['content'])}" for m in self.row.prompt)


def make_dataset(recipe: Recipe, recipe_folder: Path, target: Path) -> str:
    """Collect and prepare in one go.

    Args:
        target: the dataset version's folder; must not exist. It appears whole or not at all.

    Returns:
        The version's identity: the manifest's sha256.

    Raises:
        DataError: a source or a line that can't be used, with file, line and fix.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".dataset-") as work:
        sources = Path(work, "sources")
        collect(recipe.data, recipe_folder, sources)
        try:
            return prepare(recipe, sources, target)
        except DataError as e:
            # The user knows the file by where it was collected from.
            what, where = (text.replace(str(sources), str(recipe_folder)) for text in (e.what, e.where))
            raise DataError(what, where=where, fix=e.fix) from None


def prepare(recipe: Recipe, sources: Path, target: Path) -> str:
    """Check, deduplicate and split rows; write `<split>.jsonl` and manifest.json.

    Args:
        sources: what `collect` made.
        target: the dataset version's folder; must not exist.

    Returns:
        The version's identity: the manifest's sha256.

    Raises:
        DataError: a dirty line, a fact with too few phrasings, or a question on both sides of the split.
    """
    if target.exists():
        raise DataError("exists already", where=str(target), fix="give a folder that does not exist")
    rows, entries, dropped = _read(recipe.data, sources)
    splits = split_rows(rows, recipe.data.split)
    refuse_leakage(splits)
    work = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        work.mkdir(parents=True)
        for name, placed in splits.items():
            (work / f"{name}.jsonl").write_text("".join(p.row.to_line() for p in placed))
        DatasetManifest.new(
            name=recipe.name,
            sources=entries,
            rows={name: len(placed) for name, placed in splits.items()},
            facts={name: len({p.row.fact for p in placed} - {""}) for name, placed in splits.items()},
            dropped=dict(sorted(dropped.items())),
            files=file_entries(work),
        ).write(work / MANIFEST)
        identity = sha256_file(work / MANIFEST)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return identity


def split_rows(rows: list[Placed], split: Split) -> dict[str, list[Placed]]:
    """Hold facts and phrasings out, chosen by hash: adding a fact moves no other.

    Raises:
        DataError: fewer facts or phrasings than are held out.
    """
    by_fact: dict[str, list[Placed]] = defaultdict(list)
    for placed in rows:
        if placed.row.fact:
            by_fact[placed.row.fact].append(placed)
    if split.held_out_facts and split.held_out_facts >= len(by_fact):
        raise DataError(
            f"{split.held_out_facts} facts are to be held out, but there are {len(by_fact)}",
            where="data.split.held_out_facts",
            fix="write more facts, or hold fewer out",
        )
    order = sorted(by_fact, key=lambda fact: _rank(split.seed, fact))
    new_facts = set(order[: split.held_out_facts])
    new_phrasings: set[str] = set()
    for fact, placed in by_fact.items():
        if fact not in new_facts:
            new_phrasings |= _held_out(fact, placed, split)
    result: dict[str, list[Placed]] = {name: [] for name in SPLITS}
    for placed in rows:
        kind = "new_facts" if placed.row.fact in new_facts else "train"
        result["new_phrasings" if placed.question in new_phrasings else kind].append(placed)
    return result


def refuse_leakage(splits: dict[str, list[Placed]]) -> None:
    """Refuse a held-out question that is also trained, however it is spelled or punctuated.

    Raises:
        DataError: naming both lines.
    """
    trained = {_words(p.question): p for p in splits["train"]}
    trained_facts = {p.row.fact: p for p in splits["train"] if p.row.fact}
    for name in SPLITS[1:]:
        for placed in splits[name]:
            other = trained.get(_words(placed.question))
            if name == "new_facts":
                other = other or trained_facts.get(placed.row.fact)
            if other:
                raise DataError(
                    f"is held out ({name}), but {other.where} trains the same",
                    where=placed.where,
                    fix="delete one of the two, or ask differently",
                )


def _read(data: Data, sources: Path) -> tuple[list[Placed], list[SourceEntry], Counter[str]]:
    rows: list[Placed] = []
    entries: list[SourceEntry] = []
    dropped: Counter[str] = Counter()
    answers: dict[str, set[str]] = {}
    for source in data.sources:
        path = sources / os.path.normpath(source.path)
        count = 0
        for number, row in read_rows(path):
            count += 1
            placed = Placed(row, f"{path}:{number}")
            if reason := _reason_to_drop(placed, answers, data.max_characters):
                dropped[reason] += 1
            else:
                rows.append(placed)
                answers[placed.question] = {row.answer, fold(row.answer)}
        entries.append(SourceEntry(path=source.path, sha256=sha256_file(path), rows=count, licence=source.licence))
    if not rows:
        raise DataError("no rows are left", where="data.sources", fix="give files with chat rows")
    return rows, entries, dropped


def _reason_to_drop(placed: Placed, answers: dict[str, set[str]], max_characters: int) -> str:
    if sum(len(m.content) for m in placed.row.messages) > max_characters:
        return f"longer than {max_characters} characters"
    known = answers.get(placed.question)
    if known is None:
        return ""
    if placed.row.answer in known:
        return "duplicate"
    if fold(placed.row.answer) in known:
        return "duplicate but for letter case and spaces"
    return "question asked before, with another answer"


def _held_out(fact: str, placed: list[Placed], split: Split) -> set[str]:
    if len(placed) <= split.held_out_phrasings:
        raise DataError(
            f"fact {fact!r} has {len(placed)} phrasings; with {split.held_out_phrasings} held out, none is trained",
            where=placed[0].where,
            fix="write more phrasings of it, or lower data.split.held_out_phrasings",
        )
    questions = sorted((p.question for p in placed), key=lambda q: _rank(split.seed, f"{fact}\0{q}"))
    return set(questions[: split.held_out_phrasings])


def _rank(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed}\0{text}".encode()).hexdigest()


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text))
