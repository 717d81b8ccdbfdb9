"""Whose account doctor asks for."""

import os
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.doctor import _caller
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.settings.stack_settings import Settings


class Facts:
    """A cloud that notes with which settings of a stack it was asked for the caller."""

    VARIABLES = ("CLOUD_",)

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    def caller(self, settings: Settings | None) -> str:
        self.asked.append(settings.aws.region if settings else None)
        return "me"


@pytest.mark.parametrize(
    ("config", "variable", "asked"),
    [
        (None, "", []),
        (None, "CLOUD_PROFILE", [None]),
        ("  llmops:aws: {region: here}", "", ["here"]),
        ("  llmops:aws:", "CLOUD_PROFILE", [""]),
    ],
)
def test_the_first_stacks_settings_or_the_environment_say_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str | None, variable: str, asked: list[str | None]
) -> None:
    for name in [name for name in os.environ if name.startswith(Facts.VARIABLES)]:
        monkeypatch.delenv(name)
    if variable:
        monkeypatch.setenv(variable, "x")
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(f"config:\n  llmops:target: aws\n{config or ''}\n")
    facts: Any = Facts()
    found = _caller("aws", facts, [] if config is None else [StackFile(path)], "missing")
    assert facts.asked == asked
    assert (found.state, found.found) == (("ok", "me") if asked else ("note", "no stack here is on aws"))
