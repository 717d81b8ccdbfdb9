"""A project as a user's, and smoke tests in it as a user starts them; a twin stands in for the account."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from rich.console import Console

from llmops_kit.cli.pulumi_engine.warm import kept_warm
from llmops_kit.cli.rehearsal.clouds import find_cloud
from llmops_kit.cli.rehearsal.smoke import recordings, smoke
from llmops_kit.cli.rehearsal.smoke.smoke import SmokeOptions
from llmops_kit.cli.rehearsal.smoke.smoke_steps import END, STEPS
from llmops_kit.cli.stacks.project import Project
from tests.support.clouds.aws import running_account
from tests.support.clouds.azure_twin import running_twin
from tests.support.runs.rehearsing import Rehearsing, rehearsing_in

# A vault that is protected from purges stays for some days, whoever deletes it: the stack's, and bootstrap's.
_KEPT = {"Microsoft.KeyVault/locations/deletedVaults": 2}
_OF_REHEARSALS = ("gate", "worse", "image", "drift", "down", "down-data", "up-again")
_PROVIDERS = "Microsoft.Resources/providers"
# SageMaker makes it with the first job, one for account and region.
_JOBS_LOG = "log group /aws/sagemaker/TrainingJobs"


@dataclass(frozen=True)
class Owner:
    """A twin that stands in for somebody's account."""

    environ: Mapping[str, str]
    fault: Callable[..., None]
    clear_faults: Callable[[], None]
    settings: Callable[..., None]
    left: Callable[[], dict[str, Any]]
    """What is there that was not at the begin, or is changed."""
    expected: Mapping[str, Any]
    """What the cloud keeps for some days of all that."""


@contextmanager
def owner_of(cloud: str, folder: Path) -> Iterator[Owner]:
    if cloud == "aws":
        with running_account(folder, pace=0.05, containers="run", region="us-east-1") as account:
            before = account.inventory()

            def new() -> dict[str, Any]:
                now = account.inventory()
                names = {*now, *before} - {_JOBS_LOG}
                return {name: now.get(name) for name in names if now.get(name) != before.get(name)}

            yield Owner(account.environ, account.fault, account.clear_faults, account.set, new, {})
    else:
        with running_twin(folder, pace=0.05, containers="run") as twin:
            first = twin.admin("GET", "status")["resources"]

            def more() -> dict[str, Any]:
                now = twin.admin("GET", "status")["resources"]
                kinds = {*now, *first} - {_PROVIDERS}
                return {kind: now.get(kind) for kind in kinds if now.get(kind) != first.get(kind)}

            def change(**settings: Any) -> None:
                twin.admin("PUT", "settings", settings)

            yield Owner(twin.environ, twin.fault, twin.clear_faults, change, more, _KEPT)


@pytest.fixture
def owner(smoking: Rehearsing, tmp_path: Path) -> Iterator[Owner]:
    with owner_of(smoking.cloud, tmp_path) as made:
        yield made


@pytest.fixture
def smoking(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Rehearsing:
    made = rehearsing_in(tmp_path_factory.mktemp("smoked"), request.param)
    made.verb = "smoke"
    return made


def require_all(smoking: Rehearsing, text: str) -> None:
    """All steps have passed, the report says so, and nothing is left to go on with."""
    report = smoking.report("smoke-report")
    assert f"{len(STEPS) + 1} of {len(STEPS) + 1} steps passed" in text
    assert {s["id"] for s in report["steps"] if s["state"] == "passed"} == {*(s.id for s in STEPS), END.id}
    assert report["usd"] > 0
    assert {q["state"] for q in report["questions"]} == {"as assumed", "not answered"}
    page = (smoking.project / "smoke-report/report.html").read_text()
    assert "Questions that only an account answers" in page
    assert [p.name for p in (smoking.project / ".llmops/smoke").iterdir()] == [f"last-{smoking.cloud}.json"]


def require_nameless(smoking: Rehearsing, owner: Owner, *more: str) -> None:
    """The recording is of each step, `more` among them, is of a twin, and names nobody."""
    path = smoking.project / "recording.json"
    found = recordings.read(path, smoking.cloud)
    text = json.dumps(found)
    assert json.loads(path.read_text())["twin"] is True
    assert {each["step"] for each in found} >= {"account", "bootstrap", "train", "serve", END.id, *more}
    known = {"000000000000", "00000000-0000", "smoke-", "dev-", "rehearsal", "127.0.0.1", "localhost", "payroll"}
    known |= {value for name, value in owner.environ.items() if "SECRET" in name or "KEY" in name}
    assert [each for each in known if each and each in text] == []
    assert recordings.differences(found, found) == []
    first = next(each for each in found if each["status"] < 400 and each["answer"])
    others = [each for each in found if each["call"] != first["call"]]
    assert [d.kind for d in recordings.differences(found, others)] == ["not asked"]


def run_short(smoking: Rehearsing, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the steps that no rehearsal has, and those that they need; then take down a stack that serves."""
    steps = [step for step in STEPS if step.id not in _OF_REHEARSALS]
    options = SmokeOptions(report=smoking.project / "smoke-report", record=smoking.project / "recording.json")
    with mock.patch.dict(os.environ, owner.environ, clear=True), kept_warm():
        monkeypatch.setattr(smoke, "STEPS", tuple(steps))
        done = smoke.Smoke(find_cloud(smoking.cloud), Project(smoking.project), options).run(Console(quiet=True))
    assert done.passed, done.failed
    assert [result.step.id for result in done.results] == [*(step.id for step in steps), END.id]
    kept = json.loads((smoking.project / f".llmops/smoke/last-{smoking.cloud}.json").read_text())
    assert kept["twin"] is True
    assert {q["state"] for q in kept["questions"]} == {"as assumed", "not answered"}
    assert owner.left() == owner.expected
    require_nameless(smoking, owner)
    smoking.require_clean()
