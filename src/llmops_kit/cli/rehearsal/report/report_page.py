"""report.html: one file that needs nothing beside it, in light and dark."""

from html import escape

from llmops_kit.cli.pages.document import bullets, document, duration, figures, text
from llmops_kit.cli.rehearsal.report import plots
from llmops_kit.cli.rehearsal.report.report import Report, machine
from llmops_kit.cli.rehearsal.steps import MARKS, Result

_ANSWERS = {"as assumed": "passed", "otherwise": "failed", "not answered": "not-run"}
_TITLES = {"rehearsal": "Rehearsal", "smoke": "Smoke test"}


def html(report: Report) -> str:
    sections = [
        _head(report),
        _failure(report),
        _questions(report),
        _steps(report),
        _plots(report),
        _differences(report),
        _permissions(report),
        _unjudged(report),
    ]
    return document(f"{_TITLES[report.kind]}: {'passed' if report.passed else 'failed'}", sections)


def _head(report: Report) -> str:
    word = "passed" if report.passed else "failed"
    requests = report.timeline.requests
    values = {"steps passed": report.count, "time": duration(report.seconds)}
    if report.skipped:
        values["steps skipped"] = str(report.skipped)
    if requests:
        values["requests under load"] = str(len(requests))
        values["of them failed"] = str(sum(not r.ok for r in requests))
    if report.live:
        values["estimated cost"] = "not known" if report.usd is None else f"${report.usd:.2f}"
    notes = [f"{report.started}, on {report.place}", f"kit {report.kit_version}; {machine()}"]
    if report.recipe:
        notes.append(f"recipe {report.trained}")
    if report.fault:
        notes.append(f"with the fault {report.fault}")
    if report.without:
        notes.append(f"with these actions removed: {', '.join(report.without)}")
    notes += report.swept if report.kind == "smoke" else []
    if report.kept:
        notes.append(f"kept: {report.kept}")
    lines = "".join(f"<p class='soft'>{escape(n)}</p>" for n in notes)
    head = f"<h1>{_TITLES[report.kind]} on {escape(report.cloud)}</h1>\n<p class='verdict {word}'>{word}</p>"
    return f"{head}\n{lines}\n{figures(values)}"


def _failure(report: Report) -> str:
    failed = report.failed
    if not failed:
        return ""
    if failed.error is None:
        return f"<div class='error'><b>{escape(failed.step.title)}</b><p>stopped by Ctrl-C</p></div>"
    error = failed.error
    lines = [f"<b>{escape(failed.step.title)}</b>", f"<pre>{escape(error.what)}</pre>"]
    if error.where:
        lines.append(f"<p><span class='soft'>where</span> {escape(error.where)}</p>")
    if error.fix:
        lines.append(f"<p><span class='soft'>fix</span> {escape(error.fix)}</p>")
    return f"<div class='error'>{''.join(lines)}</div>"


def _steps(report: Report) -> str:
    rows = "\n".join(_row(r) for r in report.results)
    used = {r.step.mark for r in report.results}
    legend = "".join(f"<li>{_mark(m)} {escape(words)}</li>" for m, words in MARKS.items() if m in used)
    head = "<tr><th>step</th><th>evidence</th><th>mark</th><th>time</th></tr>"
    return (
        f"<h2>Steps</h2>\n<div class='scroll'><table>\n{head}\n{rows}\n</table></div>\n<ul class='soft'>{legend}</ul>"
    )


def _row(result: Result) -> str:
    step = result.step
    said = "".join(f"<li>{text(line)}</li>" for line in result.evidence.said)
    commands = "\n".join(f"{c.seconds:6.1f} s  [{c.who}]  $ {c.words}" for c in result.commands)
    parts = [f"<span class='soft'>{text(step.proves)}</span>", f"<ul>{said}</ul>" if said else ""]
    if result.evidence.skipped:
        parts.append(f"<b>skipped</b>: {text(result.evidence.skipped)}")
    elif result.state not in ("passed", "not run"):
        parts.append(f"<span class='verdict failed'>{escape(result.state)}</span>")
    if commands:
        count = "1 command" if len(result.commands) == 1 else f"{len(result.commands)} commands"
        parts.append(f"<details><summary>{count}</summary><pre>{escape(commands)}</pre></details>")
    time = f"{result.seconds:.1f} s" if result.state != "not run" else "not run"
    kind = result.state.replace(" ", "-")
    return (
        f"<tr class='{kind}'><td><b>{escape(step.title)}</b><span class='soft'>{escape(step.id)}</span></td>"
        f"<td>{''.join(parts)}</td><td>{_mark(step.mark)}</td><td class='time'>{time}</td></tr>"
    )


def _mark(mark: str) -> str:
    return f"<span class='mark {mark}'>{mark}</span>"


def _plots(report: Report) -> str:
    timeline, seconds = report.timeline, report.seconds
    drawn = {
        "When each step ran": plots.gantt(report.results, seconds),
        "Latency under load: dots are requests, dashed lines are events": plots.latency(timeline, seconds),
        "Requests a second under load": plots.rate(timeline, seconds),
        "Quality: share of golden prompts that a version answered correctly": plots.quality(timeline, seconds),
        f"Cost: what stood at that time costs an hour on {report.cloud}": plots.held(
            timeline.cost, seconds, "Cost", "$ an hour", timeline
        ),
    }
    parts = [f"<h3>{escape(title)}</h3>\n<div class='scroll'>{svg}</div>" for title, svg in drawn.items() if svg]
    return "<h2>Over time</h2>\n" + "\n".join(parts)


def _differences(report: Report) -> str:
    if report.differences is None:
        return ""
    if not report.differences:
        return "<h2>Cloud and twin</h2>\n<p>No differences in anything that the steps check.</p>"
    return "<h2>Where cloud and twin differed</h2>\n" + bullets(report.differences)


def _questions(report: Report) -> str:
    """Returns the questions that only a real account answers."""
    if not report.questions:
        return ""
    head = "<tr><th>question</th><th>assumption of the kit</th><th>behaviour of the cloud</th><th>answer</th></tr>"
    rows = "\n".join(
        f"<tr class='{_ANSWERS[each.state]}'><td><b>{text(each.question)}</b>"
        f"<span class='soft'>{escape(each.id)}; {escape(each.source)}</span></td>"
        f"<td>{text(each.assumed)}<span class='soft'>{each.sure} % sure</span></td>"
        f"<td>{text(each.did)}</td><td>{escape(each.state)}</td></tr>"
        for each in report.questions
    )
    title = "<h2>Questions that only a real account answers</h2>"
    return f"{title}\n<div class='scroll'><table>\n{head}\n{rows}\n</table></div>"


def _permissions(report: Report) -> str:
    """Returns which permissions each role used, and in which step first."""
    first: dict[str, dict[str, str]] = {}
    for result in report.results:
        for access in result.accesses:
            if access.allowed:
                first.setdefault(access.role, {}).setdefault(access.action, result.step.id)
    if not first:
        return ""
    parts = []
    for role, actions in sorted(first.items()):
        rows = "\n".join(f"{action:<48} {step}" for action, step in sorted(actions.items()))
        parts.append(
            f"<details><summary>{escape(role)}: {len(actions)} actions, and the step that first needs each</summary>"
            f"<pre>{escape(rows)}</pre></details>"
        )
    return "<h2>Permissions used</h2>\n" + "\n".join(parts)


def _unjudged(report: Report) -> str:
    if not report.unjudged:
        return ""
    return "<h2>What the twin does not check</h2>\n<p>Only a real account can show these.</p>\n" + bullets(
        report.unjudged
    )
