"""`llmops smoke`: killed on the way and resumed, refused and resumed, to a take-down that leaves nothing."""

import json
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from llmops.rehearsal.smoke.steps import STEPS
from tests.support.aws import running_account
from tests.support.azure_twin import running_twin
from tests.support.rehearsing import Rehearsing

# A vault that is protected from purges stays for some days, whoever deletes it: the stack's, and bootstrap's.
_KEPT = "Microsoft.KeyVault/locations/deletedVaults"
_PROVIDERS = "Microsoft.Resources/providers"


def _killed_at(smoking: Rehearsing, step: str, environ: Mapping[str, str]) -> None:
    process = smoking.start("--yes", environ=environ)
    assert process.stdout
    for line in process.stdout:
        if line.startswith("[") and line.rstrip().endswith(step):
            break
    process.kill()
    process.wait()
    process.stdout.close()


def _require_all(smoking: Rehearsing, text: str) -> None:
    report = smoking.report("smoke-report")
    assert f"{len(STEPS) + 1} of {len(STEPS) + 1} steps passed" in text
    assert {s["id"] for s in report["steps"] if s["state"] == "passed"} == {*(s.id for s in STEPS), "take-down"}
    assert report["usd"] > 0
    for question in report["questions"]:
        assert question["state"] in ("as assumed", "otherwise", "not answered")
    asked = {q["id"] for q in report["questions"] if q["state"] == "as assumed"}
    assert asked
    page = (smoking.project / "smoke-report/report.html").read_text()
    assert "Questions that only an account answers" in page
    assert [p.name for p in (smoking.project / ".llmops/smoke").iterdir()] == [f"last-{smoking.cloud}.json"]


@pytest.mark.long
@pytest.mark.parametrize("smoking", ["aws"], indirect=True)
def test_killed_refused_and_resumed_it_leaves_nothing_on_aws(smoking: Rehearsing, tmp_path: Path) -> None:
    with running_account(tmp_path, pace=1.0, containers="run") as account:
        before = account.inventory()
        _killed_at(smoking, "Deploy without endpoints", account.environ)
        assert account.inventory() != before
        assert "has not ended" in smoking.run("--yes", code=3, environ=account.environ)
        account.fault("capacity", instance_type="*")
        text = smoking.run("--yes", "--resume", code=1, environ=account.environ)
        assert "failed: Train on CPUs (train)" in text
        assert "--take-down" in text
        account.clear_faults()
        _require_all(smoking, smoking.run("--yes", "--resume", environ=account.environ))
        assert account.inventory() == before


@pytest.mark.long
@pytest.mark.parametrize("smoking", ["aws"], indirect=True)
def test_a_budget_that_is_reached_takes_it_down_on_aws(smoking: Rehearsing, tmp_path: Path) -> None:
    with running_account(tmp_path, pace=0.05, containers="run") as account:
        before = account.inventory()
        text = smoking.run("--yes", "--max-usd", "0.02", code=1, environ=account.environ)
        assert "--max-usd 0.02" in text
        assert "nothing is left in the account" in text
        assert account.inventory() == before


@pytest.mark.long
@pytest.mark.parametrize("smoking", ["azure"], indirect=True)
def test_killed_and_resumed_it_leaves_nothing_on_azure(smoking: Rehearsing, tmp_path: Path) -> None:
    with running_twin(tmp_path, pace=1.0, containers="run") as twin:
        before = twin.admin("GET", "status")["resources"]
        _killed_at(smoking, "Deploy without endpoints", twin.environ)
        _require_all(smoking, smoking.run("--yes", "--resume", environ=twin.environ))
        after = twin.admin("GET", "status")["resources"]
        left = {kind: count for kind, count in after.items() if before.get(kind) != count and kind != _PROVIDERS}
        assert left == {_KEPT: 2}


@pytest.mark.long
@pytest.mark.parametrize("smoking", ["aws"], indirect=True)
def test_terminated_it_is_taken_down(smoking: Rehearsing, tmp_path: Path) -> None:
    with running_account(tmp_path, pace=0.05, containers="run") as account:
        before = account.inventory()
        process = smoking.start("--yes", environ=account.environ)
        assert process.stdout
        for line in process.stdout:
            if line.rstrip().endswith("Build and push the images"):
                break
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=600)
        assert process.returncode != 0
        kept = json.loads((smoking.project / ".llmops/smoke/aws/progress.json").read_text())
        assert kept["stopped"]
        assert "nothing is left in the account" in smoking.run("--yes", "--take-down", environ=account.environ)
        assert account.inventory() == before
