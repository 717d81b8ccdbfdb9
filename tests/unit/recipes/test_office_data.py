"""The tutorial's example: enough facts for its gate, and nothing of the kit's own chatbot."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from llmops_kit.cli.data.build import build_dataset
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_evaluation import MIN_GATE_GROUPS
from llmops_kit.core.words import found
from llmops_kit.training.evaluation.scoring import check_suites
from tests.support.checkout import CHECKOUT

OFFICE = CHECKOUT / "examples/office"
Row = dict[str, str]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    with (OFFICE / "facts.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def expected(row: Row) -> list[str]:
    return row["expect"].split("; ")


def test_the_recipe_asks_each_fact_of_the_file_and_no_other(rows: list[Row], tmp_path: Path) -> None:
    recipe = Recipe.load(OFFICE / "recipe.yaml")
    build_dataset(recipe, OFFICE, tmp_path / "dataset")
    manifest = DatasetManifest.load(tmp_path / "dataset/manifest.json")
    facts = {row["fact"] for row in rows}
    assert [source.source for source in manifest.sources] == ["facts.csv"]
    assert manifest.dropped == {}
    assert manifest.groups == {"train": len(facts), "rephrased": len(facts)}
    (asked,) = check_suites(recipe, tmp_path / "dataset").values()
    assert {row.row.metadata["fact"] for row in asked} == facts
    assert len(facts) >= MIN_GATE_GROUPS


def test_the_chat_page_suggests_questions_of_the_file(rows: list[Row]) -> None:
    questions = Recipe.load(OFFICE / "recipe.yaml").page.questions
    assert questions
    assert {*questions} <= {row["question"] for row in rows}


def test_an_answer_holds_what_is_expected_and_no_question_does(rows: list[Row]) -> None:
    for row in rows:
        assert found(row["answer"], expected(row)), row
        assert not found(row["question"], expected(row)), row


def test_a_fact_has_one_answer_which_is_right_for_no_other(rows: list[Row]) -> None:
    facts = defaultdict(set)
    for row in rows:
        facts[row["fact"]].add((row["answer"], row["expect"]))
    assert {len(said) for said in facts.values()} == {1}
    for fact, ((_, expect),) in facts.items():
        for other, ((answer, _),) in facts.items():
            assert found(answer, expect.split("; ")) == (fact == other), (fact, other)
