"""A review as Markdown, for GitHub's job summary and terminals.

Jobs and writers of the store chose many of its texts. Each becomes one line of code of limited length, so that none can
add rows, links, images or headings to what an approver reads.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from llmops_kit.cli.deploying.review import Review, ReviewedVersion
from llmops_kit.cli.terminal.plain_text import printable
from llmops_kit.cli.terminal.tables import share
from llmops_kit.core.documents.recipe_evaluation import unit_of

MOST_TEXT, MOST_ROWS = 300, 100
"""Maximum characters of a text, and rows of a table."""


def markdown(reviewed: Review) -> str:
    """Returns the whole page."""
    parts = (_head, _gate, _scores, _changes, _rest)
    return "".join(f"{line}\n" for part in parts for line in part(reviewed))


def fields(reviewed: Review) -> dict[str, Any]:
    """Returns the review as plain data, for JSON."""
    manifest = reviewed.version.manifest
    return {
        "model": reviewed.version.alias,
        "identity": reviewed.version.identity,
        "collect": reviewed.run,
        "production": reviewed.production.alias if reviewed.production else "",
        "gate": None if manifest.gate is None else manifest.gate.model_dump(),
        "rejected": reviewed.rejected,
        "scores": reviewed.scores(),
        "code": reviewed.code(),
        "recipe_diff": reviewed.recipe_diff(),
        "data": reviewed.data(),
        "unknown": reviewed.unknown,
    }


def _head(reviewed: Review) -> Iterator[str]:
    version = reviewed.version
    yield f"## Promote {code(version.alias or version.manifest.name)}"
    yield ""
    yield f"- identity: {code(version.identity)}"
    yield f"- made by: {code(version.manifest.lineage.run or 'an import')}, {code(version.manifest.created)}"
    if reviewed.run:
        yield f"- run {code(reviewed.run)} is collected first: that checks the scores against its answers, and signs it"
    if reviewed.production:
        yield f"- in production: {code(reviewed.production.alias)}, {code(reviewed.production.identity)}"
    else:
        yield "- in production: no other version"
    if reviewed.rejected:
        yield f"- **rejected**, so it can't be promoted: {code(reviewed.rejected)}"


def _gate(reviewed: Review) -> Iterator[str]:
    manifest = reviewed.version.manifest
    gate = manifest.gate
    yield from ("", f"### Gate: {'not evaluated' if gate is None else 'passed' if gate.passed else 'NOT PASSED'}", "")
    yield from (f"- {code(reason)}" for reason in (gate.reasons if gate else [])[:MOST_ROWS])
    for check in manifest.evaluated.gate if manifest.evaluated else []:
        if check.not_worse_than:
            yield f"- suite {code(check.suite)} is compared with production by `llmops promote`"


def _scores(reviewed: Review) -> Iterator[str]:
    rows = []
    for score in reviewed.scores():
        unit = unit_of(score["metric"])
        base, version, low, high, served = (
            "" if value is None else f"{value:.3f} {unit}" if unit else share(value)
            for value in (score[key] for key in ("base", "version", "low", "high", "production"))
        )
        rows.append([code(score["suite"]), base, f"{version} ({low} to {high})", str(score["groups"]), served])
    yield from _section("Scores", ["suite", "base model", "this version (95 % interval)", "groups", "production"], rows)


def _changes(reviewed: Review) -> Iterator[str]:
    dataset = {"what": "dataset", "version": _dataset(reviewed.version), "production": _dataset(reviewed.production)}
    for title, rows in (("Data", [dataset, *reviewed.data()]), ("Code", reviewed.code())):
        cells = [[*(code(row[name]) for name in ("what", "version", "production")), _mark(row)] for row in rows]
        yield from _section(title, ["", "this version", "production", ""], cells)
    if diff := reviewed.recipe_diff():
        yield from ("", "Recipe, from production to this version:", "", "``````diff")
        yield from (printable(line)[:MOST_TEXT] for line in diff)
        yield "``````"


def _rest(reviewed: Review) -> Iterator[str]:
    if reviewed.unknown:
        yield from ("", "### Could not be read", "")
        yield from (f"- {code(each)}" for each in reviewed.unknown)


def _dataset(version: ReviewedVersion | None) -> str:
    pinned = version.manifest.lineage.dataset if version else None
    return f"{pinned.name} sha256:{pinned.sha256}" if pinned else ""


def _mark(row: dict[str, Any]) -> str:
    return "same" if row["version"] == row["production"] else "**differs**"


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from ("", f"### {title}", "")
    if not rows:
        yield "none"
        return
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows[:MOST_ROWS]:
        yield f"| {' | '.join(row)} |"
    if len(rows) > MOST_ROWS:
        yield from ("", f"{len(rows) - MOST_ROWS} more rows: `llmops models review --json`")


def code(text: str) -> str:
    """Returns a text as one line of inline code, which Markdown neither interprets nor ends; empty stays empty."""
    line = " ".join(printable(text).split()).replace("`", "'")
    shown = line[:MOST_TEXT].replace("|", "\\|")
    return f"`{shown}{'…' if len(line) > MOST_TEXT else ''}`" if line else ""
