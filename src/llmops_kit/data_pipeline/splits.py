"""Rules that compare rows by their digests: exact duplicates, splits by group, and held-out prompts."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from llmops_kit.core.documents.recipe_data import Split, SplitName
from llmops_kit.core.errors import DataError

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test", "rephrased")


class Placed(NamedTuple):
    """A row by its digests (`examine.Examined`), without its text: 0.6 kB each.

    Attributes:
        number: its index among all rows.
        where: file and line, for errors.
        split: the split named by its source; empty without one.
    """

    number: int
    where: str
    split: str
    prompt: bytes
    asked: bytes
    answers: bytes
    group: bytes
    label: str
    phrasing: bytes
    kind: str


def duplicates(rows: Iterable[Placed]) -> Iterator[int]:
    """Yields the numbers of rows with the same prompt and answers as an earlier row, ignoring case and spaces."""
    known: set[bytes] = set()
    for row in rows:
        key = row.prompt + row.answers
        if key in known:
            yield row.number
        known.add(key)


def split_rows(rows: list[Placed], split: Split) -> dict[str, list[Placed]]:
    """Holds out groups and prompts, chosen by hash, so that a new group moves few others.

    Raises:
        DataError: there are too few groups or prompts to hold out, or sources put one group into two splits.
    """
    by_group: dict[bytes, list[Placed]] = defaultdict(list)
    for placed in rows:
        if placed.group:
            by_group[placed.group].append(placed)
    split_of = _placed_by_source(by_group)
    free = sorted(set(by_group) - set(split_of))
    test, validation = _number(split.test, len(free)), _number(split.validation, len(free))
    if test + validation and test + validation >= len(free):
        raise DataError(
            f"{test + validation} groups are to be held out, but there are {len(free)}",
            where="data.split.test" if test else "data.split.validation",
            fix="add rows of other groups, or hold fewer out",
        )
    split_of |= dict.fromkeys(free[:test], "test") | dict.fromkeys(free[test : test + validation], "validation")
    rephrased: set[bytes] = set()
    for group, placed in by_group.items():
        if split.rephrased and split_of.get(group, "train") == "train":
            rephrased |= set(_held_out(placed, split))
    result: dict[str, list[Placed]] = {name: [] for name in SPLITS}
    for placed in rows:
        name = split_of.get(placed.group, placed.split or "train")
        result["rephrased" if placed.phrasing in rephrased else name].append(placed)
    return result


def leaks(splits: dict[str, list[Placed]]) -> dict[int, str]:
    """Returns the rows of `train` and `validation` whose prompt a held-out row has too, regardless of spelling.

    Returns:
        Their numbers -> why they are dropped.
    """
    found: dict[int, str] = {}
    for held_out, others in (("test", ("validation", "train")), ("rephrased", ("train",)), ("validation", ("train",))):
        asked = {placed.asked for placed in splits[held_out] if placed.number not in found}
        for name in others:
            for placed in splits[name]:
                if placed.asked in asked:
                    found.setdefault(placed.number, f"{name}: also asked in {held_out}")
    return found


def _placed_by_source(by_group: dict[bytes, list[Placed]]) -> dict[bytes, str]:
    """Returns group -> the split that its rows' source names, if it does."""
    found: dict[bytes, Placed] = {}
    for group, rows in by_group.items():
        for placed in rows:
            other = found.setdefault(group, placed) if placed.split else placed
            if other.split != placed.split:
                raise DataError(
                    f"is of group {placed.label!r} in split {placed.split!r}; {other.where} puts it into "
                    f"{other.split!r}",
                    where=placed.where,
                    fix="move all rows of the group into one file, or leave `split` out of one source",
                )
    return {group: placed.split for group, placed in found.items()}


def _number(wanted: float, groups: int) -> int:
    """Returns the number of groups for a share or a number."""
    if wanted >= 1 or not wanted:
        return int(wanted)
    return max(1, round(wanted * groups))


def _held_out(placed: list[Placed], split: Split) -> list[bytes]:
    phrasings = sorted({p.phrasing for p in placed})
    if len(phrasings) <= split.rephrased:
        raise DataError(
            f"group {placed[0].label!r} has {len(phrasings)} prompts; with {split.rephrased} held out, none is trained",
            where=placed[0].where,
            fix="add other phrasings, or lower data.split.rephrased",
        )
    return phrasings[: split.rephrased]
