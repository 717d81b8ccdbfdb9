"""Renders a dataset version's page: sources, dropped rows, lengths of rows, and a sample of them."""

import json
import statistics
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from llmops_kit.cli.data.dataset_versions import DatasetFolder
from llmops_kit.cli.pages.document import bullets, document, figures, table
from llmops_kit.cli.pages.svg import bars
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.data_pipeline.examine import characters
from llmops_kit.data_pipeline.splits import SPLITS
from llmops_kit.training.data.rows import Row

SHOWN_ROWS = 20
"""Number of rows of each split on the page, drawn at random."""


def html(version: DatasetFolder) -> str:
    """Returns the page of a dataset version."""
    manifest = version.manifest
    values = {
        "rows": f"{sum(manifest.rows.values()):,}",
        "trained": f"{manifest.rows.get('train', 0):,}",
        "dropped": f"{sum(manifest.dropped.values()):,}",
    }
    if manifest.tokens:
        values["tokens trained"] = f"{manifest.tokens.get('train', 0):,}"
    splits = [split for split in SPLITS if split in manifest.splits]
    sections = [
        f"<h1>Dataset {escape(manifest.name)}</h1>\n<p class='soft'>sha256:{version.sha256}</p>",
        figures(values),
        "<h2>Splits</h2>",
        table(
            ("split", "rows", "groups", "characters: median", "95 %", "longest"),
            [_split(version, split) for split in splits],
        ),
        "<h2>Sources</h2>",
        table(
            ("source", "licence", "rows", "sha256"),
            [
                f"<tr><td>{escape(s.source)}</td><td>{escape(s.licence or 'not stated')}</td><td>{s.rows:,}</td>"
                f"<td><code>{s.sha256[:16]}</code></td></tr>"
                for s in manifest.sources
            ],
        ),
        _stages(manifest),
        _dropped(manifest),
        _named("Replaced: rows that held it", manifest.redacted),
        _named("Languages", {name or "not told": rows for name, rows in manifest.languages.items()}),
        *(_tokens(manifest, split) for split in splits),
        *(_sample(version, split) for split in splits),
    ]
    return document(f"Dataset {manifest.name}", sections)


def _stages(manifest: DatasetManifest) -> str:
    """Returns a chart with a bar for each stage: the rows that it left."""
    if not manifest.stages:
        return ""
    return "<h2>Rows after each stage</h2>\n" + bars("rows", {each.stage: each.rows for each in manifest.stages})


def _dropped(manifest: DatasetManifest) -> str:
    """Returns a table of dropped rows by reason, the most frequent first, with examples."""
    if not manifest.dropped:
        return "<p class='soft'>No row was dropped.</p>"
    rows = []
    for reason, count in sorted(manifest.dropped.items(), key=lambda item: (-item[1], item[0])):
        examples = manifest.examples.get(reason, [])
        words = "example" if len(examples) == 1 else f"{len(examples)} examples"
        shown = f"<details><summary>{words}</summary>{bullets(examples)}</details>" if examples else ""
        rows.append(f"<tr><td>{escape(reason)}{shown}</td><td class='time'>{count:,}</td></tr>")
    return "<h2>Dropped rows</h2>\n" + table(("reason", "rows"), rows)


def _named(title: str, counts: Mapping[str, int]) -> str:
    most_first = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return f"<h2>{escape(title)}</h2>\n{bars(title, most_first)}" if counts else ""


def _tokens(manifest: DatasetManifest, split: str) -> str:
    """Returns a histogram of the tokens of a split's rows."""
    counts = manifest.token_histogram.get(split, [])
    first = next((bits for bits, rows in enumerate(counts) if rows), 0)
    names = [f"{1 << bits >> 1:,} to {(1 << bits) - 1:,}" if bits > 1 else str(bits) for bits in range(len(counts))]
    shown = dict(list(zip(names, counts, strict=True))[first:])
    return f"<h2>Tokens of rows: {split}</h2>\n{bars('rows by tokens', shown)}" if shown else ""


def _split(version: DatasetFolder, split: str) -> str:
    lengths = sorted(map(characters, version.rows(split)))
    high = lengths[min(len(lengths) - 1, round(0.95 * len(lengths)))]
    cells = (
        split,
        f"{version.manifest.rows[split]:,}",
        f"{version.manifest.groups.get(split, 0):,}",
        f"{statistics.median(lengths):,.0f}",
        f"{high:,}",
        f"{lengths[-1]:,}",
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _sample(version: DatasetFolder, split: str) -> str:
    drawn = version.sample(split, SHOWN_ROWS)
    rows = [line for number, row in enumerate(drawn, start=1) for line in _row(number, row)]
    shown = table(("", "part", "content"), rows)
    return f"<h2>Rows of {split}</h2>\n<details><summary>{len(drawn)} drawn at random</summary>{shown}</details>"


def _row(number: int, row: Row) -> Iterator[str]:
    """Yields a table line for each part of a row; the first one has its number."""
    for at, (name, content) in enumerate(_parts(row)):
        first = "" if at else str(number)
        yield f"<tr><td>{first}</td><td>{escape(name)}</td><td class='answer'>{escape(content)}</td></tr>"


def _parts(row: Row) -> Iterator[tuple[str, str]]:
    """Yields the visible parts of a row: name, text."""
    sides = (("", row.messages), ("chosen: ", row.chosen), ("rejected: ", row.rejected))
    for side, turns in sides:
        for turn in turns:
            calls = "\n".join(f"{call.function.name}({_json(call.function.arguments)})" for call in turn.tool_calls)
            yield f"{side}{turn.role}", "\n".join(filter(None, (turn.content, calls)))
    if row.text:
        yield "text", row.text
    yield from row.translation.items()
    if row.tools:
        yield "tools", ", ".join(tool.function.name for tool in row.tools)
    if row.expect:
        yield "expect", ", ".join(row.expect)
    for key, value in row.metadata.items():
        yield key, value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
