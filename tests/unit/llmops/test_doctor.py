"""Whose account doctor asks for."""

import os
from typing import Any

import pytest

from llmops_kit.cli.doctor import _caller


class Facts:
    """A cloud that notes with which settings of a stack it was asked for the caller."""

    VARIABLES = ("CLOUD_",)

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def caller(self, settings: dict[str, Any]) -> str:
        self.asked.append(settings)
        return "me"


@pytest.mark.parametrize(
    ("stacks", "variable", "asked"),
    [
        ([], "", []),
        ([], "CLOUD_PROFILE", [{}]),
        ([{"cloud": {"region": "here"}}], "", [{"region": "here"}]),
        ([{"cloud": None}], "CLOUD_PROFILE", [{}]),
    ],
)
def test_the_first_stacks_settings_or_the_environment_say_who_asks(
    monkeypatch: pytest.MonkeyPatch, stacks: list[dict[str, Any]], variable: str, asked: list[dict[str, Any]]
) -> None:
    for name in [name for name in os.environ if name.startswith(Facts.VARIABLES)]:
        monkeypatch.delenv(name)
    if variable:
        monkeypatch.setenv(variable, "x")
    facts: Any = Facts()
    found = _caller("cloud", facts, stacks, "missing")
    assert facts.asked == asked
    assert (found.state, found.found) == (("ok", "me") if asked else ("note", "no stack here is on cloud"))
