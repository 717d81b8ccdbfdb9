"""`make conformance`: one recipe and one image come out alike on this machine, on AWS and on Azure; at night, so does
a version of each recipe of the kit.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from llmops_kit.cli.platforms.registry import open_platform
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.core.documents.recipe import Recipe
from tests.support.checkout import CHECKOUT
from tests.support.runs.rehearsing import Rehearsing, rehearsing_in
from tests.support.tiny_models.recipe_versions import RECIPES, put_recipe_versions
from tools.conformance.questions import QUESTIONS, TOOL_CALLS
from tools.conformance.stages import TARGETS

_CONTRACTS = 10


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Rehearsing:
    return rehearsing_in(tmp_path_factory.mktemp("conformance"), "aws")


def printed(project: Rehearsing, module: str, *words: str) -> str:
    """What a program prints on stdout."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words, "--stack", "local"],
        cwd=project.project,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=7200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stored(project: Rehearsing, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Versions in the store of a stack of the project, one of each recipe."""
    (project.project / "Pulumi.local.yaml").write_text("config:\n  llmops:target: local\n")
    printed(project, "llmops_kit.cli", "up")
    platform = open_platform(PulumiStack(Project(project.project), "local").outputs())
    yield put_recipe_versions(platform, tmp_path_factory.mktemp("versions"))
    printed(project, "llmops_kit.cli", "down", "--data", "local")


@pytest.fixture(scope="module")
def found(project: Rehearsing) -> dict[str, Any]:
    return json.loads(printed(project, "tools.conformance", "recipes/rehearsal.yaml", "--json"))


@pytest.fixture(scope="module")
def found_of_versions(project: Rehearsing, stored: list[str]) -> dict[str, Any]:
    models = [word for alias in stored for word in ("--model", alias)]
    return json.loads(printed(project, "tools.conformance", *models, "--json"))


def test_the_same_weights_come_from_every_target(found: dict[str, Any]) -> None:
    trainings = found["trainings"]
    assert [t["target"] for t in trainings] == list(TARGETS)
    assert trainings[0]["last_loss"] < trainings[0]["first_loss"]
    assert len({t["curve"] for t in trainings}) == 1
    assert len({t["weights"] for t in trainings}) == 1


def texts_of(found: dict[str, Any], model: str) -> list[list[Any]]:
    """What a version said to each question: its text, its calls and why it ended; the same by every contract."""
    answers = [a for a in found["answers"] if a["model"] == model]
    assert len({(a["target"], a["contract"]) for a in answers}) == len(answers) == _CONTRACTS
    assert {a["contract"] for a in answers} >= {
        "OpenAI", "OpenAI stream", "SageMaker InvokeEndpoint", "SageMaker InvokeEndpoint stream",
        "Azure ML scoring URI", "Azure ML scoring URI stream",
    }  # fmt: skip
    (texts,) = {tuple(a["texts"]) for a in answers}
    said = [json.loads(text) for text in texts]
    assert all(text or calls or finish == "length" for text, *calls, finish in said)
    return said


def test_the_same_tokens_come_through_every_contract(found: dict[str, Any]) -> None:
    said = texts_of(found, "rehearsal")
    assert len(said) > len(QUESTIONS) == 30, "the recipe's own are asked too"
    assert sum(bool(calls) for _, *calls, _ in said) >= 4, "whoever must call does"
    assert found["conforms"]


@pytest.mark.long("tests/conformance/test_conformance.py::test_the_same_tokens_come_through_every_contract")
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_version_of_each_recipe_says_and_calls_the_same(found_of_versions: dict[str, Any], recipe: str) -> None:
    assert f"{recipe}@1" in found_of_versions["versions"]
    assert found_of_versions["conforms"]
    said = texts_of(found_of_versions, f"{recipe}@1")
    calls = sum(bool(calls) for _, *calls, _ in said)
    if recipe == "assistant":  # alone in having tools in its chat template
        suites = Recipe.load(CHECKOUT / "recipes/assistant.yaml").evaluation.suites
        assert len(said) == 30 + 3 * len(suites), "rows of each suite are asked too"
        assert calls >= 4
    else:
        assert len(said) > 30 - len(TOOL_CALLS)
        assert calls == 0


def test_nothing_is_left(project: Rehearsing, found: dict[str, Any]) -> None:
    assert found["seconds"] > 0
    assert not (project.project / ".llmops/conformance").exists()
    project.require_clean()
