import io

import pytest
from rich.console import Console

from llmops_kit.cli.terminal.progress import parse, show

LINES = [
    "stage=evaluate_before suite=new-phrasings",
    "step=2 total=4 loss=1.234 tokens_per_s=400 eta_s=63",
    "a library's warning: x=1",
    "suite=new-phrasings answered=8 of=12",
    "finished=evaluate_before seconds=8.7",
    "stage=train",
    "step=4 total=4 loss=nan",
]


@pytest.mark.parametrize(
    ("line", "pairs"),
    [
        ("step=12 total=80 loss=1.2e-3 eta_s=63\n", {"step": "12", "total": "80", "loss": "1.2e-3", "eta_s": "63"}),
        ('stage=done words="two words" n=1', {"stage": "done", "words": "two words", "n": "1"}),
        ("a library's warning: x=1", {}),
        ("suite=x answered=3 of=9", {"suite": "x", "answered": "3", "of": "9"}),
        ("gate: new-phrasings=1", {}),
        ("", {}),
    ],
)
def test_parse(line: str, pairs: dict[str, str]) -> None:
    assert parse(line) == pairs


def test_without_a_terminal_lines_pass_as_they_are() -> None:
    out = io.StringIO()
    show(LINES, Console(file=out, width=40))
    assert out.getvalue().splitlines() == LINES


def test_a_terminal_shows_stages_numbers_and_foreign_lines() -> None:
    out = io.StringIO()
    show(LINES, Console(file=out, width=140, force_terminal=True, color_system=None))
    text = out.getvalue()
    shown = ("evaluate before", "train", "12/12", "4/4", "loss nan", "a library's warning")
    for words in shown:
        assert words in text


def test_a_terminal_shows_no_bar_of_steps_from_before_a_resume() -> None:
    out = io.StringIO()
    lines = ["earlier: stage=train", "earlier: step=8 total=9 loss=7.5", "earlier: a warning", "--- started again"]
    show([*lines, "stage=train", "step=6 total=9 loss=1.25"], Console(file=out, width=140, force_terminal=True))
    assert "loss 1.25" in out.getvalue()
    assert "7.5" not in out.getvalue()
    assert "earlier: a warning" in out.getvalue()


@pytest.mark.vulnerability(14)
@pytest.mark.parametrize("terminal", [True, False])
def test_vulnerability_14_no_control_characters_of_a_job_reach_the_terminal(terminal: bool) -> None:
    out = io.StringIO()
    lines = ["stage=train", "title \x1b]0;owned\x07", "step=1 total=4 loss=\x9b2J"]
    show(lines, Console(file=out, width=140, force_terminal=terminal, color_system=None))
    assert r"title \u001b]0;owned\u0007" in out.getvalue()
    assert not {"\x1b]", "\x07", "\x9b"} & {
        out.getvalue()[i : i + n] for n in (1, 2) for i in range(len(out.getvalue()))
    }
