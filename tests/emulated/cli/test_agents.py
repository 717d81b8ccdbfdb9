"""A model that calls functions, on a stack of target local, used by agents of OpenAI's client and of LangChain."""

import pytest

from tests.emulated.cli.conftest import Kit
from tests.support.servers.agents import access_of, require_agents_work
from tests.support.tiny_models.models import agent_model


@pytest.mark.long("tests/emulated/cli/aws/test_training.py::test_agents_call_functions_through_sagemakers_openai_route")
def test_agents_call_functions_and_answer_from_their_results(kit: Kit) -> None:
    platform = kit.deploy("dev")
    alias = platform.store().put_model(agent_model(), platform.sign).alias
    kit.run("promote", alias, "--force", "--reason", "it was taught by heart")
    kit.run("up")
    require_agents_work(*access_of(kit.run("status", "--env", "assistant", "--json")), kit.environ)
    kit.run("down")
