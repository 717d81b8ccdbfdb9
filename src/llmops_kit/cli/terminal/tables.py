"""Prints results: as tables for people, and as JSON for programs."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from llmops_kit.cli.terminal.plain_text import printable


def print_rows(rows: Sequence[dict[str, Any]], columns: Sequence[str], as_json: bool, empty: str = "nothing") -> None:
    """Prints rows as a table of some columns, or all of their fields as JSON."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        print(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_text(row.get(column)) for column in columns))
    width = None if sys.stdout.isatty() else 240  # in a pipe, lines are not folded
    Console(markup=False, highlight=False, width=width).print(table)


def print_json(data: object) -> None:
    """Prints plain data as indented JSON."""
    print(printable(json.dumps(data, indent=2, ensure_ascii=False, default=str)))


def print_done(words: str, fields: dict[str, Any], as_json: bool) -> None:
    """Prints a sentence about a completed action, or JSON."""
    if as_json:
        print_json(fields)
    else:
        print(words)


def print_fields(fields: dict[str, Any], as_json: bool) -> None:
    """Prints one name and value per line, or JSON."""
    if as_json:
        print_json(fields)
        return
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        lines = value if isinstance(value, list) else [value]
        for i, line in enumerate(lines or ["-"]):
            print(f"{(name if i == 0 else '').replace('_', ' '):<{width}}  {_text(line)}")


def share(value: float) -> str:
    """Returns a share in per cent: 0.956 as `95.6 %`."""
    return f"{100 * value:.1f} %"


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))
