"""`llmops status --env`, with a platform that records what it is asked."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from llmops_kit.cli.commands.stack import status
from llmops_kit.cli.context import Context
from llmops_kit.cli.interfaces.platform import Access


class Platform:
    """A stack with the endpoints `chat` and `it's`."""

    outputs = SimpleNamespace(endpoints={"chat": None, "it's": None}, stack="dev")

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []

    def access(self, endpoint: str, hours: float) -> Access:
        """Returns access whose key a shell must not read as code."""
        self.asked.append((endpoint, hours))
        return Access("http://127.0.0.1:1/v1", "a key; $(false)", endpoint)


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def context(platform: Platform) -> Any:
    here = Context()
    here.__dict__["platform"] = platform
    return SimpleNamespace(obj=here)


def test_env_prints_variables_for_a_shell(context: Any, platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    status(context, "it's", env=True, hours=2.0)
    assert platform.asked == [("it's", 2.0)]
    assert capsys.readouterr().out.splitlines() == [
        "export OPENAI_BASE_URL=http://127.0.0.1:1/v1",
        "export OPENAI_API_KEY='a key; $(false)'",
    ]


def test_env_prints_json_for_a_program(context: Any, platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    status(context, "chat", env=True, as_json=True)
    assert platform.asked == [("chat", 1.0)]
    assert json.loads(capsys.readouterr().out) == {
        "base_url": "http://127.0.0.1:1/v1",
        "api_key": "a key; $(false)",
        "model": "chat",
    }


@pytest.mark.parametrize("options", [{"endpoint": "chat"}, {"hours": 2.0}])
def test_what_has_no_effect_without_env_is_refused(context: Any, options: dict[str, Any]) -> None:
    with pytest.raises(typer.BadParameter, match="goes with --env"):
        status(context, **options)
