"""Which recipes a rehearsal takes, how it shortens one, and what it asks of the version that it makes."""

from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.rehearsal.recipes import find_recipe, in_words, is_right, question_of, shorten
from llmops_kit.cli.stacks.project import Project
from llmops_kit.core.documents.model import Golden, Message, ModelManifest
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.errors import KitError
from tests.support.checkout import CHECKOUT
from tests.support.runs.training import tiny_recipe

TRANSLATION = {"name": "pairs", "split": "test", "metric": "translation", "languages": ["en", "de"]}
PLAIN = {"name": "plain", "split": "test"}
JUDGE = {"url": "https://example.org/v1", "model": "m"}
TOOLS = {"name": "calls", "split": "test", "metric": "tools"}


def write(project: Path, **sections: Any) -> Path:
    fields = tiny_recipe().model_dump(mode="json", exclude={"schema_"})
    path = project / "recipes" / "mine.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    Recipe.new(**fields | sections).write(path)
    return path


def suites(*found: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"evaluation": {"suites": [*found], "gate": [{"suite": found[0]["name"], "low": 0.1}]}, **others}


@pytest.mark.parametrize("found", [[PLAIN], [TOOLS], [TRANSLATION]], ids=["chat", "tools", "translation"])
def test_a_recipe_of_the_project_is_taken_wherever_its_data_are(tmp_path: Path, found: list[dict[str, Any]]) -> None:
    path = write(tmp_path, **suites(*found, data={"sources": [{"source": "package:rows==1"}]}))
    assert find_recipe(Project(tmp_path), path, live=False) == "recipes/mine.yaml"


@pytest.mark.parametrize("name", ["chatbot", "chatbot-tf", "assistant", "translation"])
def test_the_kits_recipes_are_taken(name: str) -> None:
    path = CHECKOUT / f"recipes/{name}.yaml"
    assert find_recipe(Project(CHECKOUT), path, live=False) == f"recipes/{name}.yaml"


@pytest.mark.parametrize(
    ("sections", "key", "live_too"),
    [
        ({"base_model": {"name": "tiny", "source": "store:tiny@1"}}, "base_model.source", True),
        (suites(TRANSLATION | {"metric": "comet", "comet": {"model": "m@1"}}), "evaluation.suites: pairs", True),
        (suites(PLAIN | {"metric": "judge", "judge": JUDGE}), "evaluation.suites: plain", False),
        ({"trainer": {"image": "folder:trainer", "command": ["python"]}}, "trainer", True),
    ],
)
def test_what_a_rehearsal_can_not_do_is_refused_by_its_key(
    tmp_path: Path, sections: dict[str, Any], key: str, live_too: bool
) -> None:
    path = write(tmp_path, **sections)
    with pytest.raises(KitError) as refused:
        find_recipe(Project(tmp_path), path, live=False)
    assert refused.value.where == f"{path}: {key}"
    assert refused.value.fix
    if live_too:
        with pytest.raises(KitError):
            find_recipe(Project(tmp_path), path, live=True)
    else:
        assert find_recipe(Project(tmp_path), path, live=True)


def test_a_recipe_elsewhere_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    with pytest.raises(KitError, match="not in the project's folder"):
        find_recipe(Project(project), write(tmp_path), live=False)
    with pytest.raises(KitError, match="recipe is missing"):
        find_recipe(Project(project), project / "none.yaml", live=False)


def test_it_asks_a_golden_question_that_stands_alone() -> None:
    manifest = ModelManifest.load(CHECKOUT / "tests/unit/core/examples/model-2.json")
    turns = [
        Message(role="user", content="Hi"),
        Message(role="assistant", content="Hello"),
        Message(role="user", content="And?"),
    ]
    system = Message(role="system", content="Short.")
    golden = [
        Golden(messages=turns[:1], expect=[]),
        Golden(messages=turns, expect=["x"]),
        Golden(messages=[system, turns[2]], expect=["y"]),
    ]
    assert question_of(manifest.model_copy(update={"golden": golden})) == golden[2]
    assert question_of(manifest.model_copy(update={"golden": golden[:2]})).expect == []


LAMP = {"type": "function", "function": {"name": "lamp", "parameters": {"type": "object"}}}
CALL = {"function": {"name": "lamp", "arguments": '{"on": true}'}}
HOUSE = Golden(messages=[], expect=["Haus|Häuser"])
LIGHT = Golden.model_validate({"messages": [], "tools": [LAMP], "calls": [{"name": "lamp", "arguments": {"on": True}}]})


@pytest.mark.parametrize(
    ("golden", "message", "right", "words"),
    [
        (HOUSE, {"content": " das haus "}, True, "das haus"),
        (HOUSE, {"content": "house"}, False, "house"),
        (HOUSE, {"content": None}, False, ""),
        (Golden(messages=[]), {"content": "house"}, True, "house"),
        (Golden(messages=[]), {"content": ""}, False, ""),
        (LIGHT, {"content": None, "tool_calls": [CALL]}, True, 'lamp {"on": true}'),
        (LIGHT, {"content": "on", "tool_calls": [CALL, CALL]}, False, 'on\nlamp {"on": true}\nlamp {"on": true}'),
        (LIGHT, {"tool_calls": [{"function": {"name": "lamp", "arguments": "{"}}]}, False, "lamp {"),
        (LIGHT, {"content": "lamp"}, False, "lamp"),
    ],
)
def test_an_answer_is_right_by_its_words_or_by_its_calls(
    golden: Golden, message: dict[str, Any], right: bool, words: str
) -> None:
    assert (is_right(golden, message), in_words(message)) == (right, words)


@pytest.mark.parametrize(
    ("training", "most", "steps", "checkpoints"),
    [({"epochs": 3, "checkpoint_steps": 30}, 12, 12, 4), ({"max_steps": 5, "checkpoint_steps": 2}, 12, 5, 1)],
)
def test_a_shortened_recipe_stands_where_it_was_and_reads_what_it_read(
    tmp_path: Path, training: dict[str, Any], most: int, steps: int, checkpoints: int
) -> None:
    path = write(tmp_path / "caller", training={"warmup_steps": 20, **training} if "epochs" in training else training)
    (path.parent / "template.jinja").write_text("{{ messages }}")
    (tmp_path / "caller/Pulumi.yaml").write_text("name: llmops")
    before = path.read_bytes()
    Project(tmp_path / "caller").link_into(tmp_path / "copy")
    shorten(tmp_path / "copy", "recipes/mine.yaml", most)
    made = Recipe.load(tmp_path / "copy/recipes/mine.yaml")
    assert (made.training.max_steps, made.training.epochs) == (steps, 1)
    assert made.training.checkpoint_steps == checkpoints
    assert made.training.warmup_steps <= steps
    assert (tmp_path / "copy/recipes/template.jinja").read_text() == "{{ messages }}"
    assert path.read_bytes() == before
