"""Dataset versions in folders: checked, sampled, compared, and shown on a page."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from llmops_kit.cli.data.build import build_dataset
from llmops_kit.cli.data.dataset_page import html
from llmops_kit.cli.data.dataset_versions import DatasetFolder, compare, compare_dropped
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.errors import IntegrityError, NotFoundError


def built(folder: Path, numbers: range, test: float = 0.25, extra: str = "") -> DatasetFolder:
    """A version of rows `Question N`."""
    folder.mkdir()
    lines = []
    for n in numbers:
        messages = [{"role": "user", "content": f"Question {n} {extra}?"}, {"role": "assistant", "content": f"<b>{n}"}]
        lines.append(json.dumps({"messages": messages}) + "\n")
    (folder / "rows.jsonl").write_text("".join(lines) + lines[0])
    recipe = Recipe.new(
        name="chat",
        base_model={"name": "base", "source": "folder:base"},
        data={"sources": [{"source": "rows.jsonl"}], "split": {"test": test}},
        evaluation={"suites": [{"name": "held-out", "split": "test", "metric": "f1"}]},
    )
    build_dataset(recipe, folder, folder / "out")
    return DatasetFolder.open(folder / "out")


def test_a_sample_is_drawn_from_the_split_and_again_the_same(tmp_path: Path) -> None:
    version = built(tmp_path / "a", range(40))
    drawn = version.sample("train", 5)
    assert len({row.to_line() for row in drawn}) == 5
    assert drawn == version.sample("train", 5)
    assert drawn != version.sample("train", 5, seed=1)
    assert len(version.sample("test", 99)) == 10
    with pytest.raises(NotFoundError):
        list(version.rows("validation"))


def test_two_versions_are_compared_row_by_row(tmp_path: Path) -> None:
    first, second = built(tmp_path / "a", range(40)), built(tmp_path / "b", range(10, 50))
    rows = {row["split"]: row for row in compare(first, second)}
    assert sum(row["added"] for row in rows.values()) == 10
    assert sum(row["removed"] for row in rows.values()) == 10
    assert sum(row["same"] + row["moved"] for row in rows.values()) == 30
    assert all(row["a"] == row["b"] for row in rows.values())
    same = compare(first, first)
    assert all((row["same"], row["added"], row["removed"], row["moved"]) == (row["a"], 0, 0, 0) for row in same)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    version = built(tmp_path / "a", range(8))
    path = version.folder / "train.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError):
        DatasetFolder.open(version.folder)
    with pytest.raises(NotFoundError):
        DatasetFolder.open(tmp_path)


def test_the_page_counts_what_was_dropped_and_escapes_rows(tmp_path: Path) -> None:
    page = html(built(tmp_path / "a", range(8), extra="<script>x</script>"))
    assert "<td>duplicate<details><summary>example<" in page
    assert "duplicates: 8" in page  # rows that the stage left
    assert "<td>user</td><td class='answer'>Question " in page
    assert "<script>" not in page
    assert "&lt;b&gt;" in page


def test_the_page_shows_what_preparing_found(tmp_path: Path) -> None:
    version = built(tmp_path / "a", range(8))
    found = {
        "languages": {"en": 5, "": 1},
        "redacted": {"EMAIL_ADDRESS": 3},
        "tokens": {"train": 90, "test": 20},
        "token_histogram": {"train": [0, 0, 0, 0, 4, 2]},
        "dropped": {"language: <i>": 7, "duplicate": 9},
        "examples": {"language: <i>": ["<b>Guten</b> Tag"]},
    }
    page = html(replace(version, manifest=version.manifest.model_copy(update=found)))
    assert page.index("duplicate") < page.index("language: &lt;i&gt;")  # the most first
    for text in ("16 to 31: 2", "EMAIL_ADDRESS: 3", "not told: 1", "&lt;b&gt;Guten", "<b>90</b>"):
        assert text in page


def test_versions_are_compared_by_what_they_dropped(tmp_path: Path) -> None:
    first, second = built(tmp_path / "a", range(8)), built(tmp_path / "b", range(8))
    other = replace(second, manifest=second.manifest.model_copy(update={"dropped": {"language: de": 2}}))
    assert compare_dropped(first, other) == [
        {"dropped": "duplicate", "a": 1, "b": 0},
        {"dropped": "language: de", "a": 0, "b": 2},
    ]
