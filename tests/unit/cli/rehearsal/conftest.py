"""A stage in a world without a twin."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.rehearsal.clouds.aws import Aws
from llmops_kit.cli.rehearsal.runner import run
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.rehearsal.steps import Evidence, PermissionCheck, RehearsalStep, Result
from llmops_kit.cli.rehearsal.world import World
from llmops_kit.cli.stacks.project import Project


class Remembering(World):
    """A world that only remembers what was asked of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Aws(), Project(folder), folder / "world")
        self.recorded: list[PermissionCheck] = []
        self.faults: dict[str, dict[str, Any]] = {}
        self.met = True

    def accesses(self) -> list[PermissionCheck]:
        return self.recorded

    def fault(self, kind: str, members: Mapping[str, Any]) -> None:
        self.faults[kind] = dict(members)

    def fault_met(self, _kind: str) -> bool:
        return self.met

    def clear_faults(self) -> None:
        self.faults.clear()


@dataclass
class Watched:
    """Who watches: what it was told."""

    told: list[str] = field(default_factory=list)

    def begins(self, result: Result) -> None:
        self.told.append(f"begins {result.step.id}")

    def says(self, line: str) -> None:
        self.told.append(line)

    def ends(self, result: Result) -> None:
        self.told.append(f"{result.state} {result.step.id}")


@dataclass
class Rehearsed:
    """Runs steps on a stage without a twin."""

    stage: Stage
    world: Remembering
    view: Watched = field(default_factory=Watched)

    def __call__(self, *steps: RehearsalStep, **options: Any) -> list[Result]:
        return run(steps, self.stage, self.view, **options)


@pytest.fixture
def rehearsed(tmp_path: Path) -> Rehearsed:
    world = Remembering(tmp_path)
    return Rehearsed(Stage(world, tmp_path / "logs", lambda _: None), world)


def step(name: str, do: Callable[[Stage], Evidence] | None = None, *needs: str) -> RehearsalStep:
    """A step that passes, or does what is given."""
    return RehearsalStep(
        name, f"The step {name}", f"proves {name}", "emulated", do or (lambda _: Evidence((f"{name} done",))), needs
    )
