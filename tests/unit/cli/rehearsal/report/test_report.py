"""report.json, junit.xml and report.html of a rehearsal that failed half way."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llmops_kit.cli.rehearsal.report.plots import WIDTH
from llmops_kit.cli.rehearsal.report.report import Report, compare, document, junit
from llmops_kit.cli.rehearsal.report.report_files import write
from llmops_kit.cli.rehearsal.steps import MARKS, Command, Evidence, PermissionCheck, Request, Result, Timeline
from llmops_kit.core.errors import KitError
from tests.unit.cli.rehearsal.conftest import step


@pytest.fixture
def report() -> Report:
    timeline = Timeline(marks=[(0.5, "long before"), (4.0, "update begins"), (6.0, "update ends")])
    timeline.requests = [Request(3 + i / 10, 0.01 + i / 1000, i != 5, "ModelError") for i in range(40)]
    timeline.quality = [(3.0, 1.0, "chat@1"), (5.0, 0.2, "chat@2")]
    timeline.cost = [(0.0, 0.0), (3.0, 0.23)]
    good, bad, rest = Result(step("one")), Result(step("two")), Result(step("three"))
    good.state, good.seconds, good.evidence = "passed", 2.5, Evidence(("<made>",), {"made": 3}, {"seconds": 2.5})
    good.commands = [Command("llmops up --stack dev", "deploy", 2.4, 0)]
    good.accesses = [PermissionCheck("deploy", "s3:PutObject", "arn:aws:s3:::b/k", True)]
    bad.state, bad.began, bad.seconds = "failed", 2.5, 4.0
    bad.error = KitError("no \x1b[31mroom", where="the disk", fix="make some & again")
    return Report(
        "aws",
        "AWS",
        "2026-11-25T12:00:00Z",
        8.0,
        "a twin",
        False,
        "0.1.0",
        [good, bad, rest],
        timeline,
        ["costs & <quotas>"],
    )  # fmt: skip


def test_json_holds_everything(report: Report) -> None:
    found = json.loads(json.dumps(document(report)))
    assert (found["schema"], found["passed"], found["failed_step"]) == ("rehearsal/1", False, "two")
    assert [s["state"] for s in found["steps"]] == ["passed", "failed", "not run"]
    assert found["steps"][0]["accesses"] == [
        {"role": "deploy", "action": "s3:PutObject", "resource": "arn:aws:s3:::b/k", "allowed": True}
    ]
    assert len(found["timeline"]["requests"]) == 40
    assert found["not_judged"] == ["costs & <quotas>"]


def test_junit_is_what_a_ci_reads(report: Report) -> None:
    root = ElementTree.fromstring(junit(report))
    suite = root.find("testsuite")
    assert suite is not None
    counts = {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors", "time")}
    assert counts == {"tests": "3", "failures": "1", "skipped": "1", "errors": "0", "time": "8.000"}
    cases = suite.findall("testcase")
    assert [c.get("name") for c in cases] == ["one: The step one", "two: The step two", "three: The step three"]
    failure = cases[1].find("failure")
    assert failure is not None
    assert failure.get("message") == "no [31mroom", "without what XML does not know"
    assert "fix: make some & again" in (failure.text or "")
    assert cases[2].find("skipped") is not None
    assert "$ llmops up --stack dev" in (cases[0].findtext("system-out") or "")


def test_the_page_shows_all_and_needs_nothing_beside_it(report: Report, tmp_path: Path) -> None:
    write(report, tmp_path / "report")
    page = (tmp_path / "report/report.html").read_text()
    for words in ("&lt;made&gt;", "make some &amp; again", "costs &amp; &lt;quotas&gt;", "s3:PutObject", "not run"):
        assert words in page
    assert "<made>" not in page
    assert "<summary>1 command</summary>" in page
    assert not re.search(r"<script|<link|<img|https?://|url\(", page)
    assert "prefers-color-scheme: dark" in page
    assert page.count("<svg") == 5
    assert page.count('class="cross"') == 1, "the failed request stands out"
    latency = page[page.index('aria-label="Latency') : page.index('aria-label="Requests')]
    assert "update begins" in latency
    assert "long before" not in latency, "it is outside of the requests' time"


def test_every_mark_has_its_colour(report: Report, tmp_path: Path) -> None:
    write(report, tmp_path / "report")
    page = (tmp_path / "report/report.html").read_text()
    for mark in MARKS:
        assert f".mark.{mark} {{ color: var(--{mark}); }}" in page
        assert f"svg .mark-{mark} {{ fill: var(--{mark}); }}" in page
    assert set(re.findall(r"var\(--([\w-]+)\)", page)) <= set(re.findall(r"--([\w-]+):", page))


def test_nothing_is_drawn_outside_of_a_plot(report: Report, tmp_path: Path) -> None:
    write(report, tmp_path)
    page = (tmp_path / "report.html").read_text()
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        for x, width in re.findall(r'<rect[^>]* x="([\d.-]+)"[^>]* width="([\d.-]+)"', svg):
            assert 0 <= float(x) <= float(x) + float(width) <= WIDTH
        for x in re.findall(r'cx="([\d.-]+)"', svg):
            assert 0 <= float(x) <= WIDTH


def test_a_report_without_load_has_no_empty_plots(tmp_path: Path) -> None:
    write(Report("aws", "AWS", "now", 1.0, "a twin", False, "0.1.0", [Result(step("one"))], Timeline()), tmp_path)
    assert (tmp_path / "report.html").read_text().count("<svg") == 1


def test_a_skipped_step_and_a_shortened_recipe_are_told(tmp_path: Path) -> None:
    one, two = Result(step("one"), "passed"), Result(step("two"), "skipped", evidence=Evidence(skipped="no <answer>"))
    made = Report("aws", "AWS", "now", 1.0, "a twin", False, "0.1.0", [one, two], Timeline())
    made.recipe, made.most_steps = "recipes/mine.yaml", 12
    assert made.passed
    assert (made.count, made.skipped) == ("1 of 2", 1)
    found = document(made)
    assert (found["recipe"], found["shortened_to"]) == ("recipes/mine.yaml", 12)
    assert [s["skipped"] for s in found["steps"]] == ["", "no <answer>"]
    case = ElementTree.fromstring(junit(made)).findall(".//testcase")[1]
    skipped = case.find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "no <answer>"
    write(made, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "shortened to 12 optimizer steps" in page
    assert "<b>skipped</b>: no &lt;answer&gt;" in page


def test_a_folder_that_can_not_be_written_is_named(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KitError) as refused:
        write(report, tmp_path / "file" / "report")
    assert refused.value.where == str(tmp_path / "file" / "report")


def test_where_cloud_and_twin_differ(report: Report) -> None:
    twin = document(report)
    assert compare(twin, twin) == []
    cloud = json.loads(json.dumps(twin))
    cloud["steps"][0]["facts"] = {"made": 4, "more": 1}
    cloud["steps"][1]["state"] = "passed"
    cloud["steps"].append({**cloud["steps"][0], "id": "four"})
    assert compare(cloud, twin) == [
        "one: made: 4 on the cloud, 3 on the twin",
        "one: more: 1 on the cloud, null on the twin",
        "two: passed on the cloud, failed on the twin",
        "four: did not run on the twin",
    ]
