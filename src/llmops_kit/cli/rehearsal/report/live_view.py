"""Progress display: a live table in a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from llmops_kit.cli.rehearsal.steps import RehearsalStep, Result

_SIGNS = {
    "passed": ("✓", "green"),
    "skipped": ("-", "yellow"),
    "failed": ("✗", "red"),
    "stopped": ("✗", "red"),
    "not run": ("·", "dim"),
}
_COLOURS = {"real": "blue", "emulated": "cyan", "simulated": "yellow"}
_LINES = 3


class Show:
    """See llmops_kit.cli.rehearsal.runner.View."""

    def __init__(self, console: Console, steps: Sequence[RehearsalStep]) -> None:
        self._console = console
        self._steps = list(steps)
        self._ended: dict[str, Result] = {}
        self._current: Result | None = None
        self._began = 0.0
        self._said: list[str] = []
        self._live = (
            Live(get_renderable=self._table, console=console, refresh_per_second=8, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> "Show":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._current = None
        if self._live:
            self._live.stop()
            self._console.print(self._table())

    def begins(self, result: Result) -> None:
        self._current, self._began, self._said = result, time.monotonic(), []
        if not self._live:
            number = self._steps.index(result.step) + 1
            self._print(f"[{number}/{len(self._steps)}] {result.step.title}")

    def says(self, line: str) -> None:
        self._said = [*self._said, Text.from_ansi(line).plain.strip()][-_LINES:]
        if not self._live and not self._current:
            self._print(line)

    def ends(self, result: Result) -> None:
        self._ended[result.step.id] = result
        self._current = None
        if not self._live:
            self._print(f"        {result.state} after {result.seconds:.1f} s ({result.step.mark})")
            for line in filter(None, (result.evidence.skipped, *result.evidence.said)):
                self._print(f"        - {line}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=2)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        for step in self._steps:
            table.add_row(*self._row(step))
        if not self._current:
            return table
        width = max(20, self._console.width - 6)
        lines = [Text(f"    {line[:width]}", style="dim", no_wrap=True) for line in self._said]
        return Group(table, *lines)

    def _row(self, step: RehearsalStep) -> tuple[RenderableType, ...]:
        mark = Text(step.mark, style=_COLOURS[step.mark])
        if self._current and self._current.step is step:
            running = f"{time.monotonic() - self._began:.0f} s"
            return Spinner("dots", style="cyan"), Text(step.title, style="bold"), mark, Text(running)
        result = self._ended.get(step.id)
        sign, colour = _SIGNS[result.state if result else "not run"]
        style = "" if result else "dim"
        seconds = f"{result.seconds:.1f} s" if result else ""
        return Text(sign, style=colour), Text(step.title, style=style), mark, Text(seconds, style="dim")
