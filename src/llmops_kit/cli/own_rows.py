"""Rows from a user's file, as the example data of a new project: which columns they come from, and their recipe."""

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_kit.core.documents.recipe_evaluation import MIN_GATE_GROUPS
from llmops_kit.core.errors import DataError

NEEDED = ("question", "answer")
COLUMNS = (*NEEDED, "fact", "expect")
"""Columns of the example's file."""


@dataclass(frozen=True)
class OwnRows:
    """Rows with the columns of the example's file."""

    rows: Sequence[Mapping[str, str]]

    @property
    def by_fact(self) -> bool:
        """Whether enough facts are asked in several ways, so that one way of each can be held out."""
        questions = defaultdict(set)
        for row in self.rows:
            questions[row.get("fact", "")].add(row["question"])
        questions.pop("", None)
        return sum(len(asked) > 1 for asked in questions.values()) >= MIN_GATE_GROUPS

    def to_csv(self) -> str:
        """Returns the file."""
        file = io.StringIO()
        columns = [name for name in COLUMNS if any(row.get(name) for row in self.rows)]
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return file.getvalue()

    def recipe(self, example: str) -> str:
        """Returns the example's recipe, changed to split, evaluate and suggest these rows."""
        questions = list(dict.fromkeys(row["question"] for row in self.rows))
        text = re.sub(r"^#.*\n", "", example)
        text = text.replace(" # 40 facts, each asked in 6 ways\n      licence: Apache-2.0", "")
        text = text.replace("about our office.", "as briefly as you can.")
        text = text.partition("\npage:")[0] + _page(questions)
        metric = "" if all(row.get("expect") for row in self.rows) else " metric: f1,"
        gate = "low: 0.3, gain_low: 0.05} # lower bounds of 95 % intervals: raise them"
        text = re.sub(r"low: 0\.75.*", gate, text)
        if self.by_fact:
            return text.replace("split: rephrased,", f"split: rephrased,{metric}")
        held_out = max(MIN_GATE_GROUPS, len(questions) // 5)
        text = re.sub(
            r"    group: fact\n.*\n",
            f"    test: {held_out} # questions that are not trained, for the evaluation\n",
            text,
        )
        return text.replace("new-phrasings", "new-questions").replace("split: rephrased,", f"split: test,{metric}")


def _page(questions: Sequence[str]) -> str:
    """Returns the recipe's part that suggests questions; empty if none is short and plain enough for the chat page."""
    short = [question for question in questions if len(question) <= 200 and question.isprintable()]
    lines = "".join(f"    - {json.dumps(question, ensure_ascii=False)}\n" for question in short[:3])
    return f"\npage:\n  questions: # that the chat page suggests\n{lines}" if lines else ""


def read_own_rows(path: Path, name: str, given: Mapping[str, str]) -> OwnRows:
    """Reads a file of any format that sources may have.

    Args:
        name: of the file, in errors.
        given: column of COLUMNS -> the file's column; others are found by their names.

    Raises:
        DataError: the file, a row or a column can't be used; or there are too few questions to hold some out.
    """
    from llmops_kit.data_pipeline.readers.reader import read

    if not path.is_file():
        raise DataError(
            "there is no such file", where=name, fix="give the path of a CSV, TSV, JSON lines or Parquet file"
        )
    rows = []
    for where, row, fault, dropped in read(path, name=name):
        if fault:
            raise fault
        if row is not None and not dropped:
            rows.append(_mapped(row, where, given))
    own = OwnRows(rows)
    asked = len({row["question"] for row in rows})
    if not own.by_fact and asked < 2 * MIN_GATE_GROUPS:
        what = f"has {asked} different questions; a gate that holds {MIN_GATE_GROUPS} out needs {2 * MIN_GATE_GROUPS}"
        fix = f"add rows, or a column `fact` with {MIN_GATE_GROUPS} facts that are each asked in several ways"
        raise DataError(what, where=name, fix=fix)
    return own


def _mapped(row: Mapping[str, Any], where: str, given: Mapping[str, str]) -> dict[str, str]:
    wanted = {column: given.get(column, column) for column in COLUMNS}
    needed = {column: found for column, found in wanted.items() if column in NEEDED or column in given}
    for column, found in needed.items():
        if found not in row:
            fix = f"name the column that has it: --column {column}=NAME"
            raise DataError(f"has no column {found!r}; it has: {', '.join(row)}", where=where, fix=fix)
    values = {column: _text(row.get(found, "")) for column, found in wanted.items()}
    for column in NEEDED:
        if not values[column].strip():
            raise DataError(f"{wanted[column]!r} is empty", where=where, fix="fill it, or remove the row")
    return values


def _text(value: Any) -> str:
    if isinstance(value, list):  # `expect`
        return "; ".join(map(str, value))
    return str(value)
