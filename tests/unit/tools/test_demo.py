"""`make demo RECIPE=NAME`: what is asked of a recipe, and which names there are."""

from pathlib import Path

import pytest

from llmops_kit.contract.errors import NotFoundError
from tools.demo import RecipeDemo, find_demo, main


def test_each_recipe_is_asked_its_first_question_in_a_stack_of_its_own() -> None:
    chatbot, translation = find_demo(), find_demo("translation")
    assert chatbot.question == "The new version is worse. How do I get the previous version back?"
    assert chatbot.steps[-1] == ("ask", ["invoke", "chatbot", chatbot.question])
    assert find_demo("assistant").steps[-1][1][-2:] == ["--tools", "recipes/assistant.yaml"]
    assert translation.steps[2][1] == ["train", "recipes/translation.yaml"]
    assert [(demo.stack, demo.page, demo.make) for demo in (chatbot, translation)] == [
        ("demo", ".llmops/demo-run.html", ""),
        ("demo-translation", ".llmops/demo-translation-run.html", " RECIPE=translation"),
    ]


@pytest.mark.parametrize("name", ["translaton", "rehearsal", "../recipes/chatbot"])
def test_a_name_without_a_demo_is_told_those_with_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", name]) == NotFoundError.exit_code
    said = capsys.readouterr().err
    assert said.startswith(
        f"recipes/{name}.yaml: {'has no page.questions' if name == 'rehearsal' else 'does not exist'}"
    )
    assert "RECIPE=NAME with one of assistant, chatbot-tf, chatbot, translation" in said
    assert "translation" in said.partition("fix: ")[2]
    assert "8b" not in said


def test_a_demo_that_never_ran_is_taken_down_without_a_word_of_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.demo.CHECKOUT", tmp_path)
    assert RecipeDemo("translation", "translation", "?").stack_file.parent == tmp_path
    assert main(["down", "translation"]) == 0
    assert "no demo to take down" in capsys.readouterr().out
