"""Writes a report: report.json, junit.xml for CI, report.html for people."""

from collections.abc import Callable
from pathlib import Path

from llmops_kit.cli.rehearsal.report.report import Report, junit, to_json
from llmops_kit.cli.rehearsal.report.report_page import html
from llmops_kit.core.errors import KitError


def write(report: Report, folder: Path, shown: Callable[[str], str] = str) -> None:
    """Writes all three into a folder; `shown` maps the text before it is written, for example to hide names.

    Raises:
        KitError: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, form in {"junit.xml": junit, "report.html": html, "report.json": to_json}.items():
            (folder / name).write_text(shown(form(report)))
    except OSError as e:
        raise KitError(f"the report can't be written: {e.strerror}", where=str(folder), fix="--report DIR") from e
