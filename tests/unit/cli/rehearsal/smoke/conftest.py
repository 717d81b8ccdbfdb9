"""A smoke test without a cloud: an account that only remembers, and steps that leave a name in it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from rich.console import Console

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.rehearsal.cloud import CloudCaller, Standing
from llmops_kit.cli.rehearsal.clouds.aws import Aws
from llmops_kit.cli.rehearsal.questions import Question
from llmops_kit.cli.rehearsal.report.report import Report
from llmops_kit.cli.rehearsal.smoke import smoke, world
from llmops_kit.cli.rehearsal.smoke.smoke import Smoke, SmokeOptions
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.rehearsal.steps import Evidence, RehearsalStep
from llmops_kit.cli.stacks.project import Project


@dataclass
class Account:
    """What it holds, what runs in it, and what was done to it."""

    things: dict[str, Any] = field(default_factory=lambda: {"bucket acme-payroll": {}})
    machines: list[Standing] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    number: str = "AWS account 123456789012"
    stays: bool = False
    """Does what a take-down removes stay?"""
    unseen: Exception | None = None
    """What a look at its machines fails with."""
    dies: bool = False
    """Is the process ended once, when it has removed what bootstrap made?"""
    refuses: dict[str, Exception] = field(default_factory=dict)
    """Step -> what it fails with, as long as it stands here."""


class Fake(Aws):
    """A cloud whose account only remembers."""

    extra = ("kit",)
    account: Account
    asked: tuple[Question, ...] = ()

    def caller(self) -> CloudCaller:
        return CloudCaller("arn:aws:iam::123456789012:user/anna", self.account.number, "us-east-1")

    def settings(self) -> dict[str, Any]:
        return {"region": "us-east-1"}

    def require_prices(self, say: Say, region: str) -> None:
        pass

    def held(self) -> dict[str, Any]:
        return dict(self.account.things)

    def standing(self) -> Iterator[Standing]:
        if self.account.unseen:
            raise self.account.unseen
        yield from self.account.machines

    def remove_bootstrapped(self, project: str) -> None:
        self.account.done.append(f"remove {project}")
        if self.account.dies:
            self.account.dies = False
            raise SystemExit

    def questions(self) -> tuple[Question, ...]:
        return self.asked


@dataclass
class Smoked:
    """Smoke tests in a project, one process after the other."""

    project: Project
    account: Account
    monkeypatch: pytest.MonkeyPatch
    questions: tuple[Question, ...] = ()

    def __call__(self, *steps: RehearsalStep, **options: Any) -> Report:
        """Begin, go on or take down; the report."""
        return self.make(*steps, **options).run(Console(quiet=True))

    def make(self, *steps: RehearsalStep, **options: Any) -> Smoke:
        if steps:
            self.monkeypatch.setattr(smoke, "STEPS", steps)
        cloud = Fake()
        cloud.account, cloud.asked = self.account, self.questions
        return Smoke(cloud, self.project, SmokeOptions(report=self.project.folder / "report", **options))

    @property
    def folder(self) -> Path:
        return self.project.folder / ".llmops/smoke/aws"

    def step(self, name: str, *needs: str, do: Callable[[Stage], None] = lambda _: None) -> RehearsalStep:
        """A step that leaves its name in the account, with that of the smoke test; or is refused."""

        def run(stage: Stage) -> Evidence:
            self.account.done.append(name)
            self.account.things[f"thing {stage.world.id}-{name}"] = {}  # type: ignore[attr-defined]
            do(stage)
            if error := self.account.refuses.get(name):
                raise error
            return Evidence((f"{name} done",), {"made": name})

        return RehearsalStep(name, f"The step {name}", f"proves {name}", "real", run, needs)


@pytest.fixture
def smoked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Smoked]:
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    account = Account()

    def opened(self: world.SmokeWorld, _say: Say) -> None:
        """What AccountWorld.open does, without an engine."""
        self.copy()
        self._before = dict(os.environ)
        self._caller = self.cloud.caller()
        self.environs = {"admin": {}}

    def remove(self: world.SmokeWorld, stack: str) -> None:
        account.done.append(f"down --data {stack}")
        if not account.stays:
            account.machines.clear()
            for name in [thing for thing in account.things if self.id in thing]:
                del account.things[name]

    def stop(self: world.SmokeWorld) -> None:
        account.done.append("down")
        account.machines.clear()

    monkeypatch.setattr(world.AccountWorld, "open", opened)
    monkeypatch.setattr(world.AccountWorld, "_remove", remove)
    monkeypatch.setattr(world.SmokeWorld, "stop_machines", stop)
    with mock.patch.dict(os.environ):
        yield Smoked(Project(tmp_path), account, monkeypatch)
