"""The project of a smoke test, and what its take-down asks for."""

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from llmops_kit.cli.rehearsal.cost_meter import Meter
from llmops_kit.cli.rehearsal.smoke.smoke_progress import Progress
from llmops_kit.cli.rehearsal.smoke.world import SmokeWorld
from llmops_kit.cli.stacks.project import Project
from llmops_kit.core.errors import KitError
from tests.unit.cli.rehearsal.smoke.conftest import Account, Fake


@pytest.fixture
def world(tmp_path: Path) -> SmokeWorld:
    kit = tmp_path / "kit"
    (kit / "recipes").mkdir(parents=True)
    (kit / "Pulumi.yaml").write_text("name: acme\nmain: infra\n")
    (kit / "Pulumi.prod.yaml").write_text("config: {}\n")
    cloud = Fake()
    cloud.account = Account()
    progress = Progress.new(cloud.account.number, "us-east-1", timedelta(hours=1))
    return SmokeWorld(cloud, Project(kit), kit / ".llmops/smoke/aws", 10, progress)


def test_its_project_has_a_name_of_its_own_and_no_other_stack(world: SmokeWorld) -> None:
    world.folder.mkdir(parents=True)
    (world.folder / "copying").mkdir()  # of a process that was killed meanwhile
    world.copy()
    assert (world.project / "Pulumi.yaml").read_text() == f"name: {world.id}\nmain: infra\n"
    assert sorted(p.name for p in world.project.iterdir()) == ["Pulumi.yaml", "recipes"]
    world.copy()
    assert Project(world.project).name == world.id


def test_stacks_are_known_by_its_name(world: SmokeWorld) -> None:
    assert world.stack("dev") == f"dev-{world.id[-4:]}"
    assert world.cloud.only == world.id
    assert world.is_ours(f"{world.id}-{world.stack('dev')}-assistant")


def test_what_could_not_be_removed_keeps_what_bootstrap_made(
    world: SmokeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The states are there: without them nobody finds what is left."""
    monkeypatch.setattr(SmokeWorld, "_remove", lambda self, _: self.swept.append("`pulumi destroy` failed: denied"))
    with pytest.raises(KitError, match="destroy` failed: denied"):
        world.take_down()
    assert world.cloud.account.done == []  # type: ignore[attr-defined]


class _Looks(Meter):
    """Has looked already, or can't."""

    def __init__(self, rate: float, error: str = "") -> None:
        self.rate, self.error = rate, error

    def look(self) -> None:
        if self.error:
            raise KitError(self.error)


@pytest.mark.parametrize(
    ("meter", "what"),
    [
        (_Looks(0.0), ""),
        (_Looks(0.25), r"may still run: \$0.25 an hour; error: denied"),
        (_Looks(0.0, "ExpiredToken"), "may still run: ExpiredToken"),
    ],
)
def test_machines_that_may_still_run_are_told_of(
    world: SmokeWorld, monkeypatch: pytest.MonkeyPatch, meter: Meter, what: str
) -> None:
    world.meter = meter
    said: list[tuple[str, ...]] = []

    def run(_: SmokeWorld, *words: str) -> subprocess.CompletedProcess[str]:
        said.append(words)
        return subprocess.CompletedProcess(words, 1, "", "error: denied\n")

    monkeypatch.setattr(SmokeWorld, "_llmops", run)
    world.stop_machines()
    assert said == [], "nothing was deployed"
    world.project.mkdir(parents=True)
    (world.project / f"Pulumi.{world.stack('dev')}.yaml").write_text("config: {}\n")
    if what:
        with pytest.raises(KitError, match=what):
            world.stop_machines()
    else:
        world.stop_machines()
    assert said == [(world.stack("dev"), "down", "--discard-runs")]
