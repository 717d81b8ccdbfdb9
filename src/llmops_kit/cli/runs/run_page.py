"""A run's page: its data, training curves and the model's answers, in one HTML file."""

import math
from html import escape

from llmops_kit.cli.pages.document import bullets, document, duration, figures, table
from llmops_kit.cli.pages.svg import LEFT, RIGHT, WIDTH, curves, svg
from llmops_kit.cli.runs.report import AnsweredRow, RunReport, SuiteReport
from llmops_kit.core.documents.model import Score, SuiteResult
from llmops_kit.core.documents.recipe_evaluation import unit_of
from llmops_kit.data_pipeline.splits import SPLITS
from llmops_kit.training.evaluation.scorers import SCORERS

SHOWN_ROWS = 200
"""Maximum number of answers of a suite on the page; wrong ones come first."""
_ROW, _TOP, _NAME = 22, 24, 170
_SCORED_BY = {"judge": "judge", "comet": "COMET", "program": "program"}
"""Metric -> heading of the column with the verdicts of another model or a program."""


def html(report: RunReport) -> str:
    """Returns the page of a run."""
    shown = [answers(suite) for suite in report.suites]
    sections = [_head(report), scores(report.suites), _training(report), _data(report), *shown]
    return document(f"Run {report.run.spec.id}", sections)


def _head(report: RunReport) -> str:
    spec, gate, facts = report.run.spec, report.manifest.gate, report.manifest.training
    passed = gate is not None and gate.passed
    verdict = "passed" if passed else "failed" if spec.recipe.evaluation.gate else "no gate"
    values = {}
    if facts:
        values = {
            "steps": str(facts.steps),
            "tokens": f"{facts.tokens:,}",
            "training": duration(facts.seconds),
            "loss": f"{facts.first_loss:.3g} → {facts.last_loss:.3g}",
            "precision": facts.precision,
        }
    if report.run.state.usd is not None:
        values["cost"] = f"${report.run.state.usd:.2f}"
    machines = f"{spec.compute.instances} x {spec.compute.instance_type}" if spec.compute else "this machine"
    lines = [
        f"run {spec.id}, {report.manifest.created}, on {machines}",
        f"base model {spec.base_model.name} sha256:{spec.base_model.sha256[:12]}",
        f"dataset {spec.dataset.name} sha256:{spec.dataset.sha256[:12]}; kit {spec.kit_version}",
    ]
    if spec.recipe.trainer:
        lines.append(
            f"trained by {spec.recipe.trainer.image}, a trainer other than the kit's: facts of its training are its "
            "own claims; whether it resumes to the same bits is not tested, and `train --check` can't estimate it"
        )
    notes = "".join(f"<p class='soft'>{escape(line)}</p>" for line in lines)
    reasons = bullets(gate.reasons) if gate else ""
    shown = f"<p class='verdict {'passed' if passed else 'failed'}'>gate: {verdict}</p>"
    return f"<h1>{escape(report.ref.alias)}</h1>\n{shown}\n{reasons}\n{notes}\n{figures(values)}"


def scores(suites: list[SuiteReport], before: str = "base model", after: str = "trained", change: str = "gain") -> str:
    """Returns suites with their intervals, as a table and a plot; `before` and `after` name the two models.

    Metrics with a unit, such as nats, are only in the table: the plot is from 0 to 1.
    """
    rows = []
    for each in suites:
        result = each.result
        gain = _interval(result.gain) if result.gain else ""
        counts = f"{result.after.rows} rows, {result.after.groups} groups"
        rows.append(
            f"<tr><td><b>{escape(result.suite)}</b><span class='soft'>{escape(result.split)}, "
            f"{escape(_measure(each))}; {counts}</span></td><td class='time'>{_interval(result.before)}</td>"
            f"<td class='time'>{_interval(result.after)}</td><td class='time'>{gain}</td></tr>"
        )
        if copied := result.copied:
            rows.append(
                f"<tr><td><span class='soft'>{escape(result.suite)}, against copying the source</span></td>"
                f"<td class='time'>{_interval(copied.score)}</td><td class='time'>{_interval(result.after)}</td>"
                f"<td class='time'>{_interval(copied.gain)}</td></tr>"
            )
    head = ("suite", before, after, change)
    words = (
        "<p class='soft'>Mean score with its 95 % interval; dashed: the gate's bound for the interval's lower end.</p>"
    )
    drawn = [each for each in suites if not unit_of(each.result.metric)]
    chart = f"<div class='scroll'>{_intervals(drawn, before, after)}</div>" if drawn else ""
    return f"<h2>Evaluation</h2>\n{words}\n{table(head, rows)}\n{chart}"


def _measure(suite: SuiteReport) -> str:
    """Returns a suite's metric and unit, the metrics that papers report for it, and its judge's requests."""
    result = suite.result
    shown = [f"{result.metric}, {unit}; lower is better" if (unit := unit_of(result.metric)) else result.metric]
    if unit:
        shown.append(f"perplexity {math.exp(result.before.value):.3g} → {math.exp(result.after.value):.3g}")
    shown += [
        f"{each.name} {each.before:.1f} → {each.after:.1f}"
        + ("" if each.copied is None else f" (copying {each.copied:.1f})")
        for each in result.corpus
    ]
    if (use := result.judge) and suite.suite.judge:
        how = {"rating": "ratings", "pairwise": "pairs in both orders"}[suite.suite.judge.mode]
        shown = [f"{how} by judge {use.model}; {use.asked} requests"]
        shown += [f"{use.prompt_tokens:,} prompt and {use.completion_tokens:,} completion tokens"]
        shown += [f"{use.unreadable} replies could not be read"] if use.unreadable else []
    elif use and suite.suite.program:
        shown = [f"scored by {suite.suite.program.file}; {use.asked} answers"]
    elif use:
        shown = [f"COMET by {use.model.partition('@sha256')[0]}; {use.asked} translations"]
    return "; ".join(shown)


def _interval(score: Score) -> str:
    return f"{score.value:.2f} <span class='soft'>{score.low:.2f} to {score.high:.2f}</span>"


def _intervals(suites: list[SuiteReport], before: str, after: str) -> str:
    """Returns a plot of scores before and after with their intervals, from 0 to 1; of translations, of copying too.

    Each suite's name is above its rows, which have the names of the table's columns.
    """
    shown = [_plotted(each.result, before, after) for each in suites]
    height = _TOP + sum((len(scores) + 1) * _ROW + 8 for scores in shown) + _TOP

    def x(value: float) -> float:
        return LEFT + _NAME + value * (WIDTH - LEFT - RIGHT - _NAME)

    parts = [f'<text class="tick end" x="{LEFT + _NAME - 10}" y="{height - 6}">score</text>']
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<path class="grid" d="M{x(share):.1f} {_TOP - 8}V{height - _TOP}"/>')
        parts.append(f'<text class="tick mid" x="{x(share):.1f}" y="{height - 6}">{share:g}</text>')
    top = _TOP
    for each, scores in zip(suites, shown, strict=True):
        parts.append(f'<text class="label" x="0" y="{top + 10}">{escape(each.result.suite)}</text>')
        top += _ROW
        for row, (name, score, kind) in enumerate(scores):
            y = top + row * _ROW + 6
            tip = f"<title>{escape(name)}: {score.value:.2f}, {score.low:.2f} to {score.high:.2f}</title>"
            parts.append(f'<text class="label end" x="{LEFT + _NAME - 10}" y="{y + 4}">{escape(name)}</text>')
            parts.append(f'<path class="whisker{kind}" d="M{x(score.low):.1f} {y}H{x(score.high):.1f}">{tip}</path>')
            parts.append(f'<circle class="dot{kind}" cx="{x(score.value):.1f}" cy="{y}" r="5">{tip}</circle>')
        bottom = top + len(scores) * _ROW
        if each.check and each.check.low is not None:
            at = x(each.check.low)
            tip = f"<title>the gate asks for at least {each.check.low:.2f}</title>"
            parts.append(f'<path class="bound" d="M{at:.1f} {top - 6}V{bottom}">{tip}</path>')
        top = bottom + 8
    return svg("Scores with their intervals", height, parts)


def _plotted(result: SuiteResult, before: str, after: str) -> list[tuple[str, Score, str]]:
    """Returns the scores of a suite in the plot: name, score, and class of their marks."""
    copied = [("copying", result.copied.score, " other")] if result.copied else []
    return [(before, result.before, " other"), *copied, (after, result.after, "")]


def _training(report: RunReport) -> str:
    values = report.curves
    plots = [
        curves("Loss", "nats", {"loss": values.get("loss", []), "validation": values.get("validation_loss", [])}),
        curves("Learning rate", "rate", {"learning rate": values.get("learning_rate", [])}),
        curves("Gradient norm", "norm", {"gradient norm": values.get("grad_norm", [])}),
        curves("Speed", "tokens/s", {"tokens a second": values.get("tokens_per_s", [])}),
        curves("Memory", "MB", {"peak of the first process": values.get("peak_mb", [])}),
    ]
    names = ("Loss", "Learning rate", "Gradient norm", "Speed", "Memory")
    drawn = [
        f"<h3>{name}</h3>\n<div class='scroll'>{plot}</div>" for name, plot in zip(names, plots, strict=True) if plot
    ]
    return "<h2>Training, by step</h2>\n" + "\n".join(drawn) if drawn else ""


def _data(report: RunReport) -> str:
    dataset = report.dataset
    rows = [
        f"<tr><td>{split}</td><td>{dataset.rows[split]}</td><td>{dataset.groups.get(split, '')}</td></tr>"
        for split in SPLITS
        if split in dataset.rows
    ]
    sources = [
        f"<tr><td>{escape(s.source)}<span class='soft'>sha256:{s.sha256[:12]}</span></td>"
        f"<td>{escape(s.licence or 'no licence stated')}</td><td>{s.rows}</td></tr>"
        for s in dataset.sources
    ]
    dropped = [f"{reason}: {count}" for reason, count in dataset.dropped.items()]
    return "\n".join(
        (
            f"<h2>Data: {escape(dataset.name)}</h2>",
            table(("split", "rows", "groups"), rows),
            "<h3>Sources</h3>",
            table(("source", "licence", "rows"), sources),
            f"<h3>Dropped rows</h3>\n{bullets(dropped)}" if dropped else "<p class='soft'>No row was dropped.</p>",
        )
    )


def answers(suite: SuiteReport, before: str = "base model", after: str = "trained") -> str:
    """Returns both models' answers to a suite side by side, the second model's worst first."""
    shown, unit = suite.rows[:SHOWN_ROWS], unit_of(suite.suite.metric)
    least = 0.5 if SCORERS[suite.suite.metric].graded else 1  # the best answers often have less than 1
    wrong = sum(row.score_after < least for row in suite.rows)
    words = f"{unit}; the highest first" if unit else f"{wrong} of {len(suite.rows)} below {least:g}; the lowest first"
    if len(shown) < len(suite.rows):
        words += f"; the first {len(shown)} are shown"
    judge = (_SCORED_BY[suite.suite.metric],) if suite.suite.judged else ()
    head = ("prompt", "reference", before, after, *judge, unit or "score")
    names = {"before": f"{before}: ", "after": f"{after}: ", "": ""}
    rows = []
    for row in shown:
        said = "\n".join(names[each.about] + each.words for each in row.judged) or "equal answers"
        cells = (row.prompt, row.reference, row.before, row.after, *((said,) if judge else ()))
        rows.append(_answer(cells, row, wrong=not unit and row.score_after < least))
    return f"<h2>Answers: {escape(suite.suite.name)}</h2>\n<p class='soft'>{words}</p>\n{table(head, rows)}"


def _answer(cells: tuple[str, ...], row: AnsweredRow, wrong: bool) -> str:
    texts = (escape(words) if words else "<span class='soft'>empty</span>" for words in cells)
    shown = "".join(f"<td class='answer'>{text}</td>" for text in texts)
    kind = " class='wrong'" if wrong else ""
    return f"<tr{kind}>{shown}<td class='time'>{row.score_before:.2f} → {row.score_after:.2f}</td></tr>"
