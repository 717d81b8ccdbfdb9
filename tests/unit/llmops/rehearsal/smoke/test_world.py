"""The project of a smoke test, and what its take-down asks for."""

from datetime import timedelta
from pathlib import Path

import pytest

from contract.errors import KitError
from llmops.project import Project
from llmops.rehearsal.smoke.progress import Progress
from llmops.rehearsal.smoke.world import SmokeWorld
from tests.unit.llmops.rehearsal.smoke.conftest import Account, Fake


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
