"""Show a run's lines of `key=value` as progress: a live bar in a terminal, plain lines elsewhere."""

import re
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

_PAIR = re.compile(r"(?:^|\s)([a-z][a-z0-9_]*)=(\"[^\"]*\"|\S+)")
_WORDS = {"step", "stage", "total"}


def parse(line: str) -> dict[str, str]:
    """The pairs of a progress line; empty for any other line, such as a warning of a library."""
    text = line.strip()
    if not re.match(r"(step|stage)=\S", text):
        return {}
    return {key: value.strip('"') for key, value in _PAIR.findall(text)}


def show(lines: Iterable[str], console: Console) -> None:
    """Draw a run's lines until they end. Lines that are no progress are printed as they are."""
    if not console.is_terminal:
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<18}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
        console=console,
    )
    with bar:
        _draw(lines, bar)


def _draw(lines: Iterable[str], bar: Progress) -> None:
    task: TaskID | None = None
    stage = ""
    for line in lines:
        values = parse(line)
        if not values:
            if line.strip():
                bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            continue
        if (named := values.get("stage", stage)) != stage or task is None:
            if task is not None:
                _finish(bar, task)
            stage = named
            task = bar.add_task(stage.replace("_", " ") or "train", total=None, numbers="")
        _update(bar, task, values)
    if task is not None:
        _finish(bar, task)


def _update(bar: Progress, task: TaskID, values: dict[str, str]) -> None:
    step, total = _number(values.get("step")), _number(values.get("total"))
    numbers = "  ".join(_words(k, v) for k, v in values.items() if k not in _WORDS)
    bar.update(task, completed=step, total=total, numbers=numbers)


def _finish(bar: Progress, task: TaskID) -> None:
    current = bar.tasks[task]
    if current.total is None:
        bar.update(task, total=1, completed=1)


def _words(key: str, value: str) -> str:
    number = _number(value)
    if key == "eta_s" and number is not None:
        return f"{int(number) // 60}:{int(number) % 60:02d} left"
    if key == "tokens_per_s":
        return f"{value} tokens/s"
    return f"{key.replace('_', ' ')} {value}"


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
