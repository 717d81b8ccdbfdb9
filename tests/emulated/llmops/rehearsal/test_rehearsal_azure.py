"""`llmops rehearse azure`: the whole of it once, with faults on the way; what it leaves; and how it fails."""

import re
import shlex
import signal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from llmops.rehearsal.clouds.azure import Azure
from llmops.rehearsal.lifecycle import STEPS
from tests.support.azure_twin import running_twin
from tests.support.checkout import CHECKOUT
from tests.support.rehearsing import Rehearsing
from twins.azure.judges.roles import Permission

PAGE = CHECKOUT / "docs/how-to/rehearsal.md"
FAULTS = ("throttle", "slow_start", "cut_stream")
# A vault that is protected from purges stays for some days, whoever deletes it.
KEPT = {"Microsoft.KeyVault/locations/deletedVaults": 1}


@pytest.fixture(scope="module")
def printed(rehearsing: Rehearsing) -> str:
    """The whole rehearsal, with a fault in each of three steps; what it printed."""
    return rehearsing.run(*(word for fault in FAULTS for word in ("--fault", fault)))


@pytest.fixture(scope="module")
def report(rehearsing: Rehearsing, printed: str) -> dict[str, Any]:
    assert printed
    return rehearsing.report()


@pytest.mark.scorecard("outage-faults", "drift")
def test_every_step_passes_and_every_fault_ends_as_documented(printed: str, report: dict[str, Any]) -> None:
    assert f"{len(STEPS)} of {len(STEPS)} steps passed" in printed
    assert [s["id"] for s in report["steps"] if s["state"] == "passed"] == [s.id for s in STEPS]
    for case in map(Azure().fault, FAULTS):
        step = next(s for s in report["steps"] if s["id"] == case.step)
        assert step["fault"] == case.name
        assert step["said"][-1].startswith(f"fault {case.name}: {case.end}")


def test_requests_were_sent_and_none_failed(report: dict[str, Any]) -> None:
    assert len(report["timeline"]["requests"]) >= 10
    marks = [words for _, words in report["timeline"]["marks"]]
    assert {"rolled back", "update begins", "update ends", "spot instance reclaimed"} <= set(marks)
    assert max(usd for _, usd in report["timeline"]["cost"]) > 0
    assert {score for _, score, _ in report["timeline"]["quality"]} == {0.0, 1.0}


def test_what_azure_does_itself_was_seen(report: dict[str, Any]) -> None:
    said = {step["id"]: "\n".join(step["said"]) for step in report["steps"]}
    assert "its machine was taken away 1 time(s)" in said["train"]
    assert "deleted, and can be recovered for some days: microsoft.keyvault/vaults/" in said["down-data"]


def test_the_page_says_what_happened(rehearsing: Rehearsing, report: dict[str, Any]) -> None:
    page = (rehearsing.project / "rehearsal-report/report.html").read_text()
    assert "<p class='verdict passed'>passed</p>" in page
    for words in ("0 orphans", "none failed", "rolled it back", "spot instance reclaimed", *report["not_judged"]):
        assert words.replace("'", "&#x27;") in page
    assert page.count("<svg") == 7  # steps, quality and cost; latency and rate of both loads
    assert not re.search(r"<script|<link|<img|https?://(?!127|localhost)", page)


def test_a_ci_reads_the_steps(rehearsing: Rehearsing, report: dict[str, Any]) -> None:
    root = ElementTree.parse(rehearsing.project / "rehearsal-report/junit.xml").getroot()
    assert (root.get("tests"), root.get("failures")) == (str(len(report["steps"])), "0")


@pytest.mark.long
def test_what_was_needed_is_what_the_roles_give(report: dict[str, Any]) -> None:
    """Of each principal: every action that was allowed is in a role that it was given, on a scope above it."""
    needed = {
        (access["role"], access["action"])
        for step in report["steps"]
        for access in step["accesses"]
        if access["allowed"]
    }
    assert {role for role, _ in needed} == {"preview", "deploy", "promote", "training", "endpoint"}
    for role, action in needed:
        grants = report["policies"][role]
        assert any(
            Permission(tuple(grant[kind])).allows(action, False)
            for grant in grants
            for kind in ("actions", "data_actions")
        ), (role, action)


@pytest.mark.long
def test_the_pages_commands_end_as_the_page_says(rehearsing: Rehearsing, printed: str) -> None:
    """In the same folder as the whole rehearsal; that one and `--live` have tests of their own."""
    assert printed
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines() if "rehearse azure --" in line]
    (bereft,) = [words[3:] for words in lines if "--live" not in words]
    assert bereft[:2] == ["--only", "up"]
    text = rehearsing.run(*bereft, code=1)
    report = rehearsing.report()
    assert report["failed_step"] == "up"
    action = bereft[-1].partition(":")[2]
    assert action in report["steps"][-1]["error"]["what"]
    assert action in text


def test_ctrl_c_leaves_nothing_but_the_report(rehearsing: Rehearsing) -> None:
    process = rehearsing.start("--only", "plan", "--report", "interrupted")
    assert process.stdout
    for line in process.stdout:
        if line.startswith("[2/"):
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode not in (0, 1)
    rehearsing.require_clean()
    assert rehearsing.report("interrupted")["failed_step"]


@pytest.mark.long
def test_a_subscription_is_limited_tagged_swept_and_compared(
    rehearsing: Rehearsing, report: dict[str, Any], tmp_path: Path
) -> None:
    """The twin stands in for the subscription."""
    assert report
    with running_twin(tmp_path, pace=0.05) as twin:
        before = twin.admin("GET", "status")["resources"]
        environ = twin.environ
        assert "needs limits" in rehearsing.run("--live", code=1, environ=environ)
        options = ("--live", "--max-usd", "5", "--ttl", "1h", "--yes", "--only", "up", "--report", "live")
        text = rehearsing.run(*options, environ=environ)
        assert "cloud and twin differed in nothing" in text
        live = rehearsing.report("live")
        assert [s["id"] for s in live["steps"]] == ["plan", "up"]
        assert live["live"]
        assert twin.admin("GET", "status")["resources"] == before | KEPT
