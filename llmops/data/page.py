"""A dataset version's page: what it is made from, what was dropped, how long its rows are, and some of them."""

import json
import statistics
from html import escape

from llmops.data.versions import DatasetFolder
from llmops.pages.document import bullets, document, figures, table
from preparation.splits import SPLITS

SHOWN_ROWS = 20
"""Rows of each split on the page, drawn at random."""


def html(version: DatasetFolder) -> str:
    """The page of a dataset version."""
    manifest = version.manifest
    values = {
        "rows": f"{sum(manifest.rows.values()):,}",
        "trained": f"{manifest.rows.get('train', 0):,}",
        "dropped": f"{sum(manifest.dropped.values()):,}",
    }
    dropped = [f"{reason}: {count:,}" for reason, count in manifest.dropped.items()]
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
        f"<h2>Dropped rows</h2>\n{bullets(dropped)}" if dropped else "<p class='soft'>No row was dropped.</p>",
        *(_sample(version, split) for split in splits),
    ]
    return document(f"Dataset {manifest.name}", sections)


def _split(version: DatasetFolder, split: str) -> str:
    lengths = sorted(len(line) for line in version.lines(split).values())
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
    rows = version.sample(split, SHOWN_ROWS)
    shown = "".join(
        f"<pre>{escape(json.dumps(json.loads(row.to_line()), indent=1, ensure_ascii=False))}</pre>" for row in rows
    )
    return f"<h2>Rows of {split}</h2>\n<details><summary>{len(rows)} drawn at random</summary>{shown}</details>"
