"""Prints results: as tables for people, and as JSON for programs."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from llmops_kit.cli.terminal.plain_text import printable


def print_rows(rows: Sequence[dict[str, Any]], columns: Sequence[str], as_json: bool, empty: str = "nothing") -> None:
    """Prints rows as a table of some columns, in a pipe without lines around it; or all of their fields as JSON."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        print(empty)
        return
    lines = [[_text(row.get(column)) for column in columns] for row in rows]
    heads = [column.replace("_", " ") for column in columns]
    if sys.stdout.isatty():
        _print_table(heads, lines)
    else:
        _print_plain([heads, *lines])


def _print_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Prints a table that fits the terminal: long cells are folded."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for line in lines:
        table.add_row(*line)
    Console(markup=False, highlight=False).print(table)


def _print_plain(lines: Sequence[Sequence[str]]) -> None:
    """Prints aligned columns, a row a line and nothing else, for programs such as grep and awk."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip())


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
