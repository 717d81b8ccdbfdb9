"""`llmops conformance`: one recipe, one version and one image come out alike on this machine, on AWS and on Azure."""

import json
import subprocess
import sys
from typing import Any

import pytest

from llmops.conformance.questions import QUESTIONS
from llmops.conformance.stages import TARGETS
from tests.support.rehearsing import Rehearsing, rehearsing_in


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Rehearsing:
    return rehearsing_in(tmp_path_factory.mktemp("conformance"), "aws")


@pytest.fixture(scope="module")
def found(project: Rehearsing) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "llmops", "conformance", "--json"],
        cwd=project.project,
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_same_weights_come_from_every_target(found: dict[str, Any]) -> None:
    trainings = found["trainings"]
    assert [t["target"] for t in trainings] == list(TARGETS)
    assert trainings[0]["last_loss"] < trainings[0]["first_loss"]
    assert len({t["curve"] for t in trainings}) == 1
    assert len({t["weights"] for t in trainings}) == 1


def test_the_same_tokens_come_through_every_contract(found: dict[str, Any]) -> None:
    answers = found["answers"]
    assert len({(a["target"], a["contract"]) for a in answers}) == len(answers) == 10
    assert {a["contract"] for a in answers} >= {
        "OpenAI", "OpenAI stream", "SageMaker InvokeEndpoint", "SageMaker InvokeEndpoint stream",
        "Azure ML scoring URI", "Azure ML scoring URI stream",
    }  # fmt: skip
    (texts,) = {tuple(a["texts"]) for a in answers}
    assert len(texts) > len(QUESTIONS) == 30, "the recipe's own are asked too"
    said = [json.loads(text) for text in texts]
    assert sum(bool(calls) for _, *calls, _ in said) >= 4, "whoever must call does"
    assert all(text or calls or finish == "length" for text, *calls, finish in said)
    assert found["conforms"]


def test_nothing_is_left(project: Rehearsing, found: dict[str, Any]) -> None:
    assert found["seconds"] > 0
    assert not (project.project / ".llmops/conformance").exists()
    project.require_clean()
