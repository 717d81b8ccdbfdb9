"""`make demo RECIPE=assistant`, and agents of OpenAI's client and of LangChain that use what it deployed."""

import os

import pytest

from tests.support.demo import Demo
from tests.support.servers.agents import access_of, require_agents_work

pytestmark = pytest.mark.long  # it trains for ten minutes on two idle cores
LLMOPS = ".venv/bin/llmops --stack demo-assistant"


def test_the_demo_trains_an_assistant_that_calls_a_tool(assistant: Demo) -> None:
    for step in ("gate     passed", "assistant@1 is live at", "make demo-down RECIPE=assistant"):
        assert step in assistant.output
    asked = assistant.output.partition(" invoke assistant ")[2]
    assert 'weather_now {"city": "Lisbon"}' in asked


def test_agents_call_functions_and_answer_from_their_results(assistant: Demo) -> None:
    access = access_of(assistant.run(f"{LLMOPS} token assistant --json"))
    require_agents_work(*access, os.environ)
