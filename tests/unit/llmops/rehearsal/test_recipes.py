"""Which recipes a rehearsal takes, and what it asks of the version that they make."""

from pathlib import Path
from typing import Any

import pytest

from contract.documents.model import Golden, Message, ModelManifest
from contract.documents.recipe import Recipe
from contract.errors import KitError
from llmops.rehearsal.recipes import find_recipe, question_of
from llmops.stacks.project import Project
from tests.support.checkout import CHECKOUT
from tests.support.training import tiny_recipe

TRANSLATION = {"name": "pairs", "split": "test", "metric": "translation", "languages": ["en", "de"]}
PLAIN = {"name": "plain", "split": "test"}
TOOLS = {"name": "calls", "split": "test", "metric": "tools"}


def write(project: Path, **sections: Any) -> Path:
    fields = tiny_recipe().model_dump(mode="json", exclude={"schema_"})
    path = project / "recipes" / "mine.yaml"
    path.parent.mkdir(exist_ok=True)
    Recipe.new(**fields | sections).write(path)
    return path


def suites(*found: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"evaluation": {"suites": [*found], "gate": [{"suite": found[0]["name"], "low": 0.1}]}, **others}


@pytest.mark.parametrize("found", [[PLAIN], [TOOLS, PLAIN], [TRANSLATION]], ids=["chat", "tools", "translation"])
def test_a_recipe_of_the_project_is_taken(tmp_path: Path, found: list[dict[str, Any]]) -> None:
    path = write(tmp_path, **suites(*found))
    assert find_recipe(Project(tmp_path), path, live=False) == "recipes/mine.yaml"


@pytest.mark.parametrize(
    ("sections", "key", "live_too"),
    [
        (suites(TOOLS), "evaluation.suites", True),
        ({"base_model": {"name": "tiny", "source": "store:tiny@1"}}, "base_model.source", True),
        ({"data": {"sources": [{"source": "https://example.org/rows.jsonl"}]}}, "data.sources", False),
        (suites(PLAIN, TRANSLATION | {"metric": "comet", "comet": {"model": "m@1"}}), "evaluation.suites", False),
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
    if not live_too:
        assert find_recipe(Project(tmp_path), path, live=True)


def test_a_recipe_elsewhere_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    with pytest.raises(KitError, match="not in the project's folder"):
        find_recipe(Project(project), write(tmp_path), live=False)
    with pytest.raises(KitError, match="no recipe for the rehearsal"):
        find_recipe(Project(project), project / "none.yaml", live=False)


def test_it_asks_a_golden_question_that_stands_alone() -> None:
    manifest = ModelManifest.load(CHECKOUT / "tests/unit/contract/examples/model-2.json")
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
    with pytest.raises(KitError, match="nothing tells it from a worse one"):
        question_of(manifest.model_copy(update={"golden": golden[:2]}))
