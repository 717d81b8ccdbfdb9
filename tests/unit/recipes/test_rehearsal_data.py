"""The rehearsal's recipe: rows of the chatbot's, and settings that its steps rely on."""

import json
from pathlib import Path

from llmops_kit.cli.data.build import build_dataset
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.layout import MANIFEST
from tests.support.checkout import CHECKOUT

RECIPES = CHECKOUT / "recipes"


def test_its_facts_are_whole_facts_of_the_chatbots() -> None:
    chatbot = (RECIPES / "chatbot/facts.jsonl").read_text().splitlines()
    rows = (RECIPES / "rehearsal/facts.jsonl").read_text().splitlines()
    facts = {json.loads(row)["fact"] for row in rows}
    assert rows == [row for row in chatbot if json.loads(row)["fact"] in facts]


def test_it_trains_in_a_few_steps_which_two_hosts_can_share_and_a_reclaim_can_interrupt(tmp_path: Path) -> None:
    recipe = Recipe.load(RECIPES / "rehearsal.yaml")
    build_dataset(recipe, RECIPES, tmp_path / "dataset")
    rows = DatasetManifest.load(tmp_path / "dataset" / MANIFEST).rows
    options = recipe.training
    steps = options.epochs * -(-rows["train"] // options.batch_size)
    assert rows["test"] == 30
    assert 2 * options.checkpoint_steps < steps <= 42
    assert options.batch_size % 2 == 0
