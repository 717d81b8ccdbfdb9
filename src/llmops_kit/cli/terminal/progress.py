"""Shows a run's lines of `key=value` as progress: a live bar in a terminal, plain lines elsewhere."""

import re
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from llmops_kit.cli.terminal.plain_text import EARLIER, printable

_PAIR = re.compile(r"([a-z][a-z0-9_]*)=(\"[^\"]*\"|\S+)")
_LINE = re.compile(rf"\s*{_PAIR.pattern}(?:\s+{_PAIR.pattern})*\s*")
_COUNTS = (("step", "total"), ("answered", "of"))


def parse(line: str) -> dict[str, str]:
    """Returns the pairs of a progress line; empty for any other line, such as a warning of a library."""
    if not _LINE.fullmatch(line):
        return {}
    return {key: value.strip('"') for key, value in _PAIR.findall(line)}


def describe(line: str) -> str:
    """Returns a progress line in few words; any other line unchanged, but safe for a terminal."""
    values = parse(line := printable(line))
    if not values:
        return line
    stage = values.pop("stage", "").replace("_", " ")
    done, total = _take_counts(values)
    return ", ".join(filter(None, (stage, "" if done is None else _count(done, total), _numbers(values))))


def show(lines: Iterable[str], console: Console) -> None:
    """Draws a run's lines until they end; prints other lines unchanged.

    In a terminal, progress from before the last start of a resumed run is left out.
    """
    lines = map(printable, lines)
    if not console.is_terminal:
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<15}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[count]:>7}", table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[numbers]}", table_column=Column(ratio=1, no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        console=console,
        expand=True,
    )
    with bar:
        _draw(lines, bar)


def _draw(lines: Iterable[str], bar: Progress) -> None:
    task: TaskID | None = None
    for line in lines:
        values = parse(line)
        if line.startswith(EARLIER) and parse(line.removeprefix(EARLIER)):
            continue
        if not values:
            if line.strip():
                bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            continue
        if "stage" in values or task is None:
            if task is not None:
                _finish(bar, task)
            task = bar.add_task(values.pop("stage", "run").replace("_", " "), total=None, count="", numbers="")
        if "finished" in values:
            _finish(bar, task)
        elif values:
            _update(bar, task, values)
    if task is not None:
        _finish(bar, task)


def _update(bar: Progress, task: TaskID, values: dict[str, str]) -> None:
    done, total = _take_counts(values)
    bar.update(task, completed=done, total=total, numbers=_numbers(values))
    if done is not None:
        bar.update(task, count=_count(done, total))


def _take_counts(values: dict[str, str]) -> tuple[float | None, float | None]:
    done = total = None
    for count, of in _COUNTS:
        if count in values:
            done, total = _number(values.pop(count)), _number(values.pop(of, None))
    return done, total


def _count(done: float, total: float | None) -> str:
    return f"{done:.0f}/{total:.0f}" if total else f"{done:.0f}"


def _numbers(values: dict[str, str]) -> str:
    return ", ".join(_words(k, v) for k, v in values.items() if k != "when").replace(", of ", " of ")


def _finish(bar: Progress, task: TaskID) -> None:
    current = bar.tasks[task]
    total = current.total or 1
    count = f"{total:.0f}/{total:.0f}" if current.total else ""
    bar.update(task, total=total, completed=total, count=count)
    bar.stop_task(task)


def _words(key: str, value: str) -> str:
    number = _number(value)
    if key == "eta_s" and number is not None:
        return f"{int(number) // 60}:{int(number) % 60:02d} left"
    if key in ("suite", "package"):
        return value
    if key == "usd":
        return f"${value}"
    if key == "tokens_per_s":
        return f"{value} tok/s"
    if key == "peak_mb":
        return f"peak {value} MB"
    return f"{key.replace('_', ' ')} {value}"


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
