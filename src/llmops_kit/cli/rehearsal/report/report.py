"""Report of a rehearsal or smoke test, as report.json and junit.xml, and the comparison of two reports."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from llmops_kit.cli.rehearsal.steps import (
    ENDED_WELL,
    MARKS,
    Command,
    Evidence,
    PermissionCheck,
    RehearsalStep,
    Result,
    Timeline,
)
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.cli.rehearsal.questions import Answered

SCHEMAS = {"rehearsal": "rehearsal/1", "smoke": "smoke/1"}
"""Schemas of report.json, by kind of report."""
_VERBS = {"rehearsal": "rehearse", "smoke": "smoke"}


@dataclass
class Report:
    """Result of a rehearsal or smoke test. `cloud` is the target's title; `unjudged` is the twin's own list of checks
    that it lacks; `differences` are those between cloud and twin.
    """

    target: str
    cloud: str
    started: str
    seconds: float
    place: str
    live: bool
    kit_version: str
    results: list[Result]
    timeline: Timeline
    unjudged: list[str] = field(default_factory=list)
    differences: list[str] | None = None
    recipe: str = ""
    """Path in the project; empty: of a smoke test."""
    most_steps: int = 0
    """Optimizer steps that the recipe was shortened to; 0: it was not shortened."""
    fault: str = ""
    without: list[str] = field(default_factory=list)
    kept: str = ""
    swept: list[str] = field(default_factory=list)
    usd: float | None = None
    """Estimated cost in the caller's account; None: nothing ran there, or the cost is not known."""
    policies: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Role -> all policies that it has had."""
    kind: str = "rehearsal"
    """`rehearsal` or `smoke`."""
    questions: "list[Answered]" = field(default_factory=list)
    twin: bool = False
    """Whether a twin stood in for the account of a smoke test."""
    unfinished: bool = False
    """Whether resources are left in the account, so that the smoke test can be resumed."""

    @property
    def passed(self) -> bool:
        """Whether every step passed that the recipe allows."""
        return all(r.state in ENDED_WELL for r in self.results)

    @property
    def count(self) -> str:
        """Number of passed steps, as text."""
        return f"{sum(r.state == 'passed' for r in self.results)} of {len(self.results)}"

    @property
    def skipped(self) -> int:
        """Number of steps that could show nothing with the recipe."""
        return sum(r.state == "skipped" for r in self.results)

    @property
    def trained(self) -> str:
        """The recipe, and whether it was shortened, in words; empty: of a smoke test."""
        if not self.most_steps:
            return self.recipe
        shortened = f"{self.recipe}, shortened to {self.most_steps} optimizer steps"
        return f"{shortened}: its scores and gate say nothing about the full recipe"

    @property
    def failed(self) -> Result | None:
        return next((r for r in self.results if r.state in ("failed", "stopped")), None)


def to_json(report: Report) -> str:
    """Returns the report as JSON, for programs; two rehearsals are compared by their steps' `facts`."""
    return json.dumps(document(report), indent=1, default=str) + "\n"


def document(report: Report) -> dict[str, Any]:
    """Returns report.json as plain data."""
    failed = report.failed
    return {
        "schema": SCHEMAS[report.kind],
        "target": report.target,
        "passed": report.passed,
        "failed_step": failed.step.id if failed else "",
        "started": report.started,
        "seconds": round(report.seconds, 1),
        "place": report.place,
        "live": report.live,
        "kit_version": report.kit_version,
        "machine": machine(),
        "marks": MARKS,
        "recipe": report.recipe,
        "shortened_to": report.most_steps,
        "fault": report.fault,
        "without": report.without,
        "usd": report.usd,
        "steps": [document_of(r) for r in report.results],
        "timeline": {k: v for k, v in asdict(report.timeline).items() if not k.startswith("begun")},
        "not_judged": report.unjudged,
        "differences": report.differences,
        "policies": report.policies,
        "swept": report.swept,
        **({"twin": report.twin} if report.kind == "smoke" else {}),
        **({"questions": [each.row for each in report.questions]} if report.kind == "smoke" else {}),
    }


def machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def document_of(result: Result) -> dict[str, Any]:
    """Returns a step's result as plain data."""
    step, error = result.step, result.error
    return {
        "id": step.id,
        "title": step.title,
        "proves": step.proves,
        "mark": step.mark,
        "state": result.state,
        "began": round(result.began, 2),
        "seconds": round(result.seconds, 2),
        "said": list(result.evidence.said),
        "facts": result.evidence.facts,
        "measured": result.evidence.measured,
        "skipped": result.evidence.skipped,
        "fault": result.fault,
        "error": {"what": error.what, "where": error.where, "fix": error.fix} if error else None,
        "commands": [asdict(c) | {"seconds": round(c.seconds, 2)} for c in result.commands],
        "accesses": [asdict(a) for a in result.accesses],
    }


def result_of(step: RehearsalStep, document: dict[str, Any]) -> Result:
    """Restores the result of a passed step from `document_of`."""
    return Result(
        step,
        document["state"],
        document["began"],
        document["seconds"],
        Evidence(tuple(document["said"]), document["facts"], document["measured"]),
        commands=[Command(**each) for each in document["commands"]],
        accesses=[PermissionCheck(**each) for each in document["accesses"]],
    )


def junit(report: Report) -> str:
    """Returns JUnit XML as CI servers read it: one test case per step.

    https://github.com/testmoapp/junitxml
    """
    states = [r.state for r in report.results]
    counts = {
        "tests": str(len(states)),
        "failures": str(states.count("failed") + states.count("stopped")),
        "skipped": str(states.count("not run") + states.count("skipped")),
        "errors": "0",
        "time": f"{report.seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": f"llmops {_VERBS[report.kind]} {report.target}", **counts})
    here = {"name": report.kind, "timestamp": report.started, "hostname": platform.node() or "here"}
    suite = ElementTree.SubElement(root, "testsuite", {**here, **counts})
    properties = ElementTree.SubElement(suite, "properties")
    of_all = {"place": report.place, "kit": report.kit_version, "recipe": report.trained, "fault": report.fault}
    for name, value in of_all.items():
        ElementTree.SubElement(properties, "property", name=name, value=value)
    for result in report.results:
        _case(suite, result, f"{report.kind}.{report.target}")
    ElementTree.SubElement(suite, "system-out").text = _text("\n".join(f"not judged: {u}" for u in report.unjudged))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, result: Result, of: str) -> None:
    step = result.step
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=of,
        name=f"{step.id}: {step.title}",
        time=f"{result.seconds:.3f}",
    )
    properties = ElementTree.SubElement(case, "properties")
    ElementTree.SubElement(properties, "property", name="mark", value=step.mark)
    if result.state == "not run":
        ElementTree.SubElement(case, "skipped", message="a required step did not pass, or an earlier one failed")
    elif result.evidence.skipped:
        ElementTree.SubElement(case, "skipped", message=_text(result.evidence.skipped))
    elif result.state != "passed":
        error = result.error or KitError("stopped by Ctrl-C")
        failure = ElementTree.SubElement(case, "failure", message=_text(error.what.splitlines()[0]), type=result.state)
        failure.text = _text(str(error))
    lines = [*result.evidence.said, *(f"$ {c.words}  [{c.who}, {c.seconds:.1f} s]" for c in result.commands)]
    ElementTree.SubElement(case, "system-out").text = _text("\n".join(lines))


def _text(text: str) -> str:
    """Returns a text without the control characters that XML 1.0 does not allow, such as a terminal's colours."""
    return "".join(c for c in text if c in "\t\n\r" or ord(c) >= 0x20)


def compare(cloud: dict[str, Any], twin: dict[str, Any]) -> list[str]:
    """Returns where a rehearsal on a cloud differed from the twin's, by two documents of `report.json`."""
    here = {s["id"]: s for s in twin["steps"]}
    found = []
    for step in cloud["steps"]:
        other = here.get(step["id"])
        if other is None:
            found.append(f"{step['id']}: did not run on the twin")
            continue
        if step["state"] != other["state"]:
            found.append(f"{step['id']}: {step['state']} on the cloud, {other['state']} on the twin")
        for name in sorted({*step["facts"], *other["facts"]}):
            one, two = step["facts"].get(name), other["facts"].get(name)
            if one != two and "passed" == step["state"] == other["state"]:
                found.append(f"{step['id']}: {name}: {_short(one)} on the cloud, {_short(two)} on the twin")
    return found


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "…"
