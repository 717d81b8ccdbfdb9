"""`make demo RECIPE=NAME`: what is asked of a recipe, which names there are, and what is on the screen."""

import re
import sys
from pathlib import Path

import pytest

from llmops_kit.core.errors import NotFoundError
from tools import demo as demos
from tools.demo import RecipeDemo, find_demo, main

COMMAND = """\
import json, sys
verb = sys.argv[1]
if verb == "status":
    print(json.dumps({"endpoints": [{"name": "bot", "url": "http://127.0.0.1:1", "key": "key"}]}))
elif verb == FAILING:
    sys.exit("the disk is full")
else:
    print("the answer" if verb == "invoke" else f"{verb} said much")
"""


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


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecipeDemo:
    """A demo in a folder with what its commands leave there; the commands only print."""
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\n")
    (tmp_path / "key").write_text("sk-1\n")
    (tmp_path / ".llmops/datasets").mkdir(parents=True)
    (tmp_path / ".llmops/datasets/bot-1.html").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demos, "CHECKOUT", tmp_path)
    monkeypatch.setattr(demos, "HINT", tmp_path / "hint")
    monkeypatch.setenv("LLMOPS_DEMO_BEGAN", "1")
    return RecipeDemo("bot", "bot", "Why?")


def commands(monkeypatch: pytest.MonkeyPatch, failing: str = "") -> None:
    program = COMMAND.replace("FAILING", repr(failing))
    monkeypatch.setattr(RecipeDemo, "command", [sys.executable, "-c", program])


def test_the_screen_has_a_line_for_each_step_the_answer_the_total_and_the_hint(
    small: RecipeDemo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands(monkeypatch)
    demos.HINT.write_text("hint: another Python is quicker")
    assert demos.up(small) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    timed = [line for line in lines if re.fullmatch(r"  \S.* +\d+\.\d s", line)]
    assert [line.split("  ")[1] for line in timed] == [*(title for title, _ in small.steps), "total"]
    assert float(timed[-1].split()[1]) > 1e9, "from the start of make"
    asked = lines.index("$ llmops --stack demo-bot invoke bot Why?")
    assert lines[asked + 1] == "the answer"
    assert not [line for line in lines if "said much" in line]
    assert last == "hint: another Python is quicker"
    assert not demos.HINT.exists()
    log = (demos.CHECKOUT / small.log).read_text()
    assert "$ llmops --stack demo-bot train recipes/bot.yaml\n" in log
    assert "train said much\n" in log


def test_a_step_that_fails_names_the_log_and_how_to_go_on(
    small: RecipeDemo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands(monkeypatch, failing="train")
    assert demos.up(small) == 1
    said = capsys.readouterr()
    assert "  the disk is full\n" in said.err
    assert f"log: {demos.CHECKOUT / small.log}\n" in said.err
    assert said.err.endswith("Run `make demo RECIPE=bot` again: it resumes here.\n")
    assert "promote" not in said.out
