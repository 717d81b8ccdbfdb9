"""What is seen in a terminal while a rehearsal runs."""

import io

from rich.console import Console

from llmops_kit.cli.rehearsal.lifecycle import STEPS
from llmops_kit.cli.rehearsal.report.live_view import Show
from llmops_kit.cli.rehearsal.steps import Result


def test_a_table_tells_what_runs_what_it_says_and_how_steps_ended() -> None:
    first, second, third = STEPS[:3]
    terminal = io.StringIO()

    def shown() -> str:
        text = io.StringIO()
        Console(file=text, width=100).print(show._table())
        return text.getvalue()

    with Show(Console(file=terminal, force_terminal=True, width=100), [first, second, third]) as show:
        show.begins(Result(first))
        show.says("\x1b[1mhalf way\x1b[0m")
        assert "half way" in shown()
        assert shown().count("·") == 2
        show.ends(Result(first, "passed", seconds=1.5))
        show.begins(Result(second))
        assert "half way" not in shown()
        show.ends(Result(second, "failed", seconds=2.0))
    end = terminal.getvalue().rpartition(first.title)[2]
    assert [sign in end for sign in ("1.5 s", "✗", "2.0 s", "·", third.title)] == [True] * 5
