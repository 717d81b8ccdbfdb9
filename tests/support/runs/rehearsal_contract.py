"""What a whole rehearsal shows on every cloud: a test module inherits `RehearsalContract`, and names its CLOUD.

The fixtures `rehearsing`, `printed` and `report` are of tests/emulated/cli/rehearsal.
"""

import re
import shlex
import signal
import time
from typing import Any, ClassVar
from xml.etree import ElementTree

import pytest

from llmops_kit.cli.rehearsal.cloud import Cloud
from llmops_kit.cli.rehearsal.lifecycle import STEPS
from tests.support.checkout import CHECKOUT
from tests.support.runs.rehearsing import Rehearsing

_PAGE = CHECKOUT / "docs/how-to/rehearsal.md"


class RehearsalContract:
    """Of the whole rehearsal, with the module's `FAULTS`; and of one that is interrupted."""

    cloud: ClassVar[Cloud]
    faults: ClassVar[tuple[str, ...]]

    @pytest.mark.scorecard("outage-faults", "drift")
    def test_every_step_passes_and_every_fault_ends_as_documented(self, printed: str, report: dict[str, Any]) -> None:
        assert f"{len(STEPS)} of {len(STEPS)} steps passed" in printed
        assert [s["id"] for s in report["steps"] if s["state"] == "passed"] == [s.id for s in STEPS]
        for case in map(self.cloud.fault, self.faults):
            step = next(s for s in report["steps"] if s["id"] == case.step)
            assert step["fault"] == case.name
            assert step["said"][-1].startswith(f"fault {case.name}: {case.end}")

    def test_requests_were_sent_and_cost_and_quality_were_seen(self, report: dict[str, Any]) -> None:
        assert len(report["timeline"]["requests"]) >= 10
        marks = [words for _, words in report["timeline"]["marks"]]
        assert {"rolled back", "update begins", "update ends", "spot instance reclaimed"} <= set(marks)
        assert max(usd for _, usd in report["timeline"]["cost"]) > 0
        assert {score for _, score, _ in report["timeline"]["quality"]} == {0.0, 1.0}

    def test_the_page_says_what_happened(self, rehearsing: Rehearsing, report: dict[str, Any]) -> None:
        page = (rehearsing.project / "rehearsal-report/report.html").read_text()
        assert "<p class='verdict passed'>passed</p>" in page
        for words in (
            "0 orphans",
            "none failed",
            "caused a rollback",
            "spot instance reclaimed",
            *report["not_judged"],
        ):
            assert words.replace("'", "&#x27;") in page
        assert page.count("<svg") == 7  # steps, quality and cost; latency and rate of both loads
        assert not re.search(r"<script|<link|<img|https?://(?!127|localhost)", page)

    def test_a_ci_reads_the_steps(self, rehearsing: Rehearsing, report: dict[str, Any]) -> None:
        root = ElementTree.parse(rehearsing.project / "rehearsal-report/junit.xml").getroot()
        assert (root.get("tests"), root.get("failures")) == (str(len(report["steps"])), "0")

    def test_ctrl_c_leaves_nothing_but_the_report(self, rehearsing: Rehearsing) -> None:
        process = rehearsing.start("--only", "plan", "--report", "interrupted")
        assert process.stdout
        log = rehearsing.project / "interrupted/logs/account.txt"
        while not log.exists() or log.read_text().count("\n") < 2:  # until a command of its first step says something
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=120)
        assert process.returncode not in (0, 1), said
        rehearsing.require_clean()
        assert rehearsing.report("interrupted")["failed_step"]

    @pytest.mark.long
    def test_the_pages_commands_end_as_the_page_says(self, rehearsing: Rehearsing, printed: str) -> None:
        """In the same folder as the whole rehearsal, which has a test of its own."""
        assert printed
        blocks = re.findall(r"^```console\n(.*?)^```", _PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
        command = f"rehearse {self.cloud.target} --"
        lines = [shlex.split(line)[3:] for block in blocks for line in block.splitlines() if command in line]
        faulty = [words for words in lines if "--fault" in words]
        (bereft,) = [words for words in lines if "--without" in words]
        assert [words[:2] for words in faulty] == [["--only", "plan"]] * (self.cloud.target == "aws")
        for words in faulty:
            assert "fault slow: recovered" in rehearsing.run(*words)
        assert bereft[:2] == ["--only", "up"]
        text = rehearsing.run(*bereft, code=1)
        report = rehearsing.report()
        assert report["failed_step"] == "up"
        action = bereft[-1].partition(":")[2]
        assert action in report["steps"][-1]["error"]["what"]
        assert action in text
