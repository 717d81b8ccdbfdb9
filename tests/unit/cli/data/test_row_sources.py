"""Errors about rows of a dataset version name the file and line that their user wrote."""

from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.data.build import build_dataset
from llmops_kit.cli.data.dataset_versions import DatasetFolder
from llmops_kit.cli.data.row_sources import naming_sources, source_place
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.errors import RunError
from llmops_kit.training.evaluation.scoring import check_suites


def built(folder: Path, header: str, **data: Any) -> Recipe:
    """A recipe with a suite, on a CSV file of 40 questions about 20 facts; its dataset version is in `dataset`."""
    lines = [f"What is twice {n}{mark},It is {2 * n}.,f{n},{2 * n}" for n in range(20) for mark in "?!"]
    (folder / "facts.csv").write_text("\n".join([header, *lines]) + "\n")
    recipe = Recipe.new(
        name="mine",
        base_model={"name": "base", "source": "folder:base"},
        data={"sources": [{"source": "facts.csv"}], **data},
        evaluation={"suites": [{"name": "new", "split": "test"}]},
    )
    build_dataset(recipe, folder, folder / "dataset", collected=folder / "collected")
    return recipe


def test_a_suite_that_finds_no_row_names_the_line_that_lacks_something(tmp_path: Path) -> None:
    recipe = built(tmp_path, "question,answer,fact,hint", split={"test": 5})
    with (
        pytest.raises(RunError, match="finds no rows with `expect`") as caught,
        naming_sources(recipe.data, tmp_path, tmp_path / "collected", tmp_path / "dataset"),
    ):
        check_suites(recipe, tmp_path / "dataset")
    file, _, line = caught.value.where.rpartition(":")
    assert file == str(tmp_path / "facts.csv")
    asked = (tmp_path / "facts.csv").read_text().splitlines()[int(line) - 1]
    first = next(DatasetFolder.open(tmp_path / "dataset").rows("test"))
    assert asked.split(",")[0] == first.prompt[0]["content"]


def test_a_suite_without_a_split_names_the_suite(tmp_path: Path) -> None:
    recipe = built(tmp_path, "question,answer,fact,expect")
    with pytest.raises(RunError) as caught:
        check_suites(recipe, tmp_path / "dataset")
    assert caught.value.where == "evaluation.suites: new"


def test_what_follows_the_number_stays(tmp_path: Path) -> None:
    recipe = built(tmp_path, "question,answer,fact,expect", split={"test": 5})
    given = (recipe.data, tmp_path, tmp_path / "collected", tmp_path / "dataset")
    assert source_place("train.parquet:1: messages.0", *given) == f"{tmp_path}/facts.csv:2: messages.0"
    assert source_place("evaluation.suites: new", *given) == ""


def test_a_row_that_no_source_has_as_it_is_has_no_place(tmp_path: Path) -> None:
    recipe = built(tmp_path, "question,answer,fact,expect")
    (tmp_path / "facts.csv").write_text((tmp_path / "facts.csv").read_text().replace("twice", "double"))
    build_dataset(recipe, tmp_path, tmp_path / "next", collected=tmp_path / "collected")
    assert source_place("train.parquet:1", recipe.data, tmp_path, tmp_path / "collected", tmp_path / "dataset") == ""
