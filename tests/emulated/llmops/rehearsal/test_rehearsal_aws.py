"""`llmops rehearse aws`: the whole of it once, with faults on the way; what it leaves; and how it fails."""

import json
import re
import shlex
import signal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from llmops.rehearsal.clouds.aws import Aws
from llmops.rehearsal.clouds.aws_unused import UNUSED
from llmops.rehearsal.lifecycle import STEPS
from llmops.rehearsal.permissions import actions_of, first_needs, is_needed, without
from tests.support.aws import REGION, running_account
from tests.support.checkout import CHECKOUT
from tests.support.rehearsing import Rehearsing
from twins.aws.judges.evaluator import Evaluator, Question
from twins.aws.judges.installation import install

PAGE = CHECKOUT / "docs/how-to/rehearsal.md"
ACCOUNT = {"AWS": "arn:aws:iam::000000000000:root"}
# A key's policy has to leave it to the account's policies.
KEY_POLICY = {"Statement": [{"Effect": "Allow", "Principal": ACCOUNT, "Action": "kms:*", "Resource": "*"}]}
FAULTS = ("throttle", "slow_start", "cut_stream")


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
    for case in map(Aws().fault, FAULTS):
        step = next(s for s in report["steps"] if s["id"] == case.step)
        assert step["fault"] == case.name
        assert step["said"][-1].startswith(f"fault {case.name}: {case.end}")


def test_requests_were_sent_and_none_failed_but_for_the_killed_container(report: dict[str, Any]) -> None:
    requests = report["timeline"]["requests"]
    assert len(requests) >= 10
    marks = [words for _, words in report["timeline"]["marks"]]
    assert {"rolled back", "update begins", "update ends", "spot instance reclaimed"} <= set(marks)
    costs = [usd for _, usd in report["timeline"]["cost"]]
    assert max(costs) > 0
    assert report["timeline"]["quality"]


def test_the_page_says_what_happened(rehearsing: Rehearsing, report: dict[str, Any]) -> None:
    page = (rehearsing.project / "rehearsal-report/report.html").read_text()
    assert "<p class='verdict passed'>passed</p>" in page
    for words in ("0 orphans", "none failed", "rolled it back", "spot instance reclaimed", *report["not_judged"]):
        assert words.replace("'", "&#x27;") in page
    assert page.count("<svg") == 7  # steps, quality and cost; latency and rate of both loads
    assert not re.search(r"<script|<link|<img|https?://(?!127)", page)


def test_a_ci_reads_the_steps(rehearsing: Rehearsing, report: dict[str, Any]) -> None:
    root = ElementTree.parse(rehearsing.project / "rehearsal-report/junit.xml").getroot()
    assert (root.get("tests"), root.get("failures")) == (str(len(report["steps"])), "0")


@pytest.fixture(scope="module")
def evaluator():
    made = Evaluator(install())
    yield made
    made.close()


def test_every_action_is_needed_by_a_step_and_denied_without_it(report: dict[str, Any], evaluator: Evaluator) -> None:
    """Of each role: what was recorded is allowed by its policies, and is denied when that action is taken out."""
    needed = first_needs(report)
    assert {role for role, _ in needed} >= {"preview", "deploy", "promote", "training", "endpoint"}
    questions, wanted = [], []
    for (role, action), (_, resource) in needed.items():
        policies = report["policies"][role]
        for document, allowed in ((policies, True), (without(policies, action), False)):
            questions.append(_question(document, action, resource))
            wanted.append((role, action, allowed))
    verdicts = evaluator.judge(questions)
    found = [(*asked[:2], verdict.allowed) for asked, verdict in zip(wanted, verdicts, strict=True)]
    assert found == wanted


def test_no_role_of_a_stack_has_an_action_that_no_step_needs(report: dict[str, Any]) -> None:
    needed = first_needs(report)
    for role in ("training", "endpoint", "scheduler"):
        mine = [action for of, action in needed if of == role]
        unneeded = {a for a in actions_of(report["policies"][role]) if not is_needed(a, mine)}
        assert unneeded == {action for of, action in UNUSED if of == role}


def _question(policies: list[dict[str, Any]], action: str, resource: str) -> Question:
    """Conditions aside: they look at the request, and were judged when it was made."""
    bare = json.loads(json.dumps(policies))
    for policy in bare:
        policy["Statement"] = [s for s in policy["Statement"] if s["Effect"] == "Allow" or "Condition" not in s]
        for statement in policy["Statement"]:
            statement.pop("Condition", None)
    texts = tuple(json.dumps(p) for p in bare)
    asked = resource if resource == "*" else resource.replace("*", "new")
    key = json.dumps(KEY_POLICY) if action.startswith("kms:") else None
    return Question("arn:aws:iam::000000000000:user/x", "000000000000", action, asked, {}, texts, resource_policy=key)


@pytest.mark.long
def test_the_pages_commands_end_as_the_page_says(rehearsing: Rehearsing, printed: str) -> None:
    """In the same folder as the whole rehearsal, one after the other; that one and `--live` have tests of their own."""
    assert printed
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines() if "rehearse aws --" in line]
    short = [words[3:] for words in lines if "--live" not in words]
    assert [words[:2] for words in short] == [["--only", "plan"], ["--only", "up"]]
    faulty, bereft = short
    assert "fault slow: recovered" in rehearsing.run(*faulty)
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
def test_an_account_is_limited_tagged_swept_and_compared(rehearsing: Rehearsing, tmp_path: Path) -> None:
    """The twin stands in for the account."""
    with running_account(tmp_path, pace=0.05, region=REGION) as account:
        before = account.inventory()
        environ = account.environ
        assert "needs limits" in rehearsing.run("--live", code=1, environ=environ)
        options = ("--live", "--max-usd", "5", "--ttl", "1h", "--yes", "--only", "up", "--report", "live")
        text = rehearsing.run(*options, environ=environ)
        assert "cloud and twin differed in nothing" in text
        report = rehearsing.report("live")
        assert [s["id"] for s in report["steps"]] == ["plan", "up"]
        assert report["live"]
        assert account.inventory() == before
