"""A version of a shortened recipe that failed its gate, and one that no prompt tells from a worse one."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmops_kit.cli.rehearsal.lifecycle import day_two, first_model
from llmops_kit.cli.rehearsal.lifecycle.shared import promote_version
from llmops_kit.core.documents.model import GateResult, Golden, Message, ModelManifest
from llmops_kit.core.errors import KitError
from tests.support.checkout import CHECKOUT
from tests.support.runs.training import tiny_recipe

EXAMPLE = ModelManifest.load(CHECKOUT / "tests/unit/core/examples/model-2.json")
ANY = Golden(messages=[Message(role="user", content="Hi")])


@dataclass
class RecordingStage:
    """A version, and the commands that were run."""

    folder: Path
    most_steps: int
    changed: dict[str, Any]
    notes: dict[str, Any] = field(default_factory=lambda: {"version": "chat@1"})
    ran: list[tuple[str, ...]] = field(default_factory=list)
    world: Any = field(init=False)

    def __post_init__(self) -> None:
        tiny_recipe().write(self.folder / "recipe.yaml")
        self.world = SimpleNamespace(project=self.folder, recipe="recipe.yaml", most_steps=self.most_steps)

    def manifest(self, _version: str) -> ModelManifest:
        return EXAMPLE.model_copy(update=self.changed)

    def llmops(self, *words: str, code: int = 0, **_: Any) -> str:
        self.ran.append((*words, str(code)))
        return "was never evaluated; the gate"

    def json(self, *words: str, **_: Any) -> dict[str, str]:
        self.ran.append(words)
        return {}


def test_a_shortened_version_that_fails_its_gate_is_refused_and_then_taken_by_force(tmp_path: Path) -> None:
    failed = {"gate": GateResult(passed=False, reasons=["score 0.1"])}
    stage: Any = RecordingStage(tmp_path, 12, failed)
    assert first_model.gate(stage).facts == {"passed": False}
    assert ("promote", "chat@1", "--endpoint", "assistant", "3") in stage.ran
    promote_version(stage, "chat@1")
    assert stage.ran[-1][-3:] == ("--force", "--reason", "rehearsed after 12 steps")
    whole: Any = RecordingStage(tmp_path, 0, failed)
    with pytest.raises(KitError, match="the gate was not passed"):
        first_model.gate(whole)


def test_a_version_that_passes_is_promoted_without_force(tmp_path: Path) -> None:
    stage: Any = RecordingStage(tmp_path, 12, {"gate": GateResult(passed=True, reasons=[])})
    assert first_model.gate(stage).facts == {"passed": True}
    promote_version(stage, "chat@1")
    assert "--force" not in stage.ran[-1]


def test_no_worse_version_is_made_where_nothing_would_tell_it(tmp_path: Path) -> None:
    stage: Any = RecordingStage(tmp_path, 0, {"golden": [ANY]})
    assert "none of the version's golden prompts" in day_two.bad_version(stage).skipped
    assert stage.ran == []
