"""What the tutorial shows of its example is what the example has."""

import re

import pytest

from llmops_kit.core.documents.recipe_evaluation import MIN_GATE_GROUPS
from tests.support.checkout import CHECKOUT

PAGE = (CHECKOUT / "docs/tutorial.md").read_text()
OFFICE = CHECKOUT / "examples/office"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_recipe_is_the_examples() -> None:
    [shown] = [block for block in blocks("yaml") if "schema: recipe/" in block]
    assert shown == (OFFICE / "recipe.yaml").read_text().partition("\n")[2]


def test_the_rows_are_the_examples() -> None:
    [shown] = blocks("csv")
    assert (OFFICE / "facts.csv").read_text().startswith(shown)


def test_it_says_how_many_facts_a_gate_needs() -> None:
    assert f"at least {MIN_GATE_GROUPS} facts" in PAGE


@pytest.mark.parametrize("own", ["recipes/chatbot", "validation.jsonl", "new-facts"])
def test_it_copies_nothing_of_the_kits_own_chatbot(own: str) -> None:
    commands = "".join(blocks("bash") + blocks("console"))
    assert own not in commands
