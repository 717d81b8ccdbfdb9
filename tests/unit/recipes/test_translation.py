"""The translators' recipes: what is asked is what was learned, and a gate holds both directions against copying."""

import pytest

from llmops_kit.core.documents.recipe import Recipe
from tests.support.checkout import CHECKOUT

RECIPES = CHECKOUT / "recipes"


@pytest.mark.parametrize("name", ["translation", "translation-8b"])
def test_each_direction_is_asked_as_it_is_learned_and_held_by_the_gate(name: str) -> None:
    recipe = Recipe.load(RECIPES / f"{name}.yaml")
    learned = [(task.languages, task.prompt) for task in recipe.training.translations]
    assert [(suite.languages, suite.prompt) for suite in recipe.evaluation.suites] == learned
    assert [languages for languages, _ in learned] == [["en", "de"], ["en", "fr"]]
    assert [check.suite for check in recipe.evaluation.gate] == [suite.name for suite in recipe.evaluation.suites]
    for check in recipe.evaluation.gate:
        assert check.gain_low is not None
        assert check.copy_gain_low
    for question in recipe.page.questions:
        assert any(question.startswith(prompt.removesuffix("{text}")) for _, prompt in learned)


def test_both_recipes_train_on_the_same_data_under_stated_licences() -> None:
    small, large = (Recipe.load(RECIPES / f"{name}.yaml").data for name in ("translation", "translation-8b"))
    assert small.sources == large.sources
    assert {source.licence for source in small.sources} == {"BSD-3-Clause"}
    assert small.prepare == large.prepare
    assert small.prepare.near_duplicates
    assert small.prepare.overlap_words
