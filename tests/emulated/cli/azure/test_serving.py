"""Endpoints on a twin that runs containers, deployed by the real engine: asked, watched, shared between versions."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from llmops_kit.cli.platforms.azure.platform import AzurePlatform
from llmops_kit.cli.platforms.registry import open_platform
from llmops_kit.clouds.azure.names import endpoint_id
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.errors import KitError
from llmops_kit.local_runtime import process_images
from tests.support.clouds.azure_twin import AzureStack, Subscription, make_stack, running_twin, trusted
from tests.support.servers.agents import require_agents_work
from tests.support.tiny_models.models import agent_model

FIRST, SECOND = "chatbot@1", "chatbot@2"


@dataclass
class World:
    """A stack with two endpoints, and its platform."""

    subscription: Subscription
    stack: AzureStack
    platform: AzurePlatform


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("serving").resolve()
    serving = process_images.build("serving", lambda _: None)
    with running_twin(folder, containers="run", pace=0.05) as subscription:
        stack = make_stack(subscription, folder / "stack", "dev", images={"serving": serving, "training": ""})
        stack.serve("chatbot", stack.add_version(FIRST))
        stack.serve("assistant", stack.add_version("assistant@1", model=agent_model()))
        stack.up()
        with subscription.entered():
            found = open_platform(StackOutputs.parse(json.dumps(stack.outputs()), where="outputs"))
            assert isinstance(found, AzurePlatform)
            yield World(subscription, stack, found)
    shutil.rmtree(folder, ignore_errors=True)


def question(**members: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Tell me w1?"}], "max_tokens": 6, **members}


def take_traffic_away(world: World) -> None:
    """Put the endpoint as somebody does who knows nothing of its traffic."""
    arm, id_ = world.platform.session.arm, endpoint_id(world.platform.azure, "chatbot")
    live = arm.get(id_)
    ids = {each: {} for each in live["identity"]["userAssignedIdentities"]}
    identity = {"type": "UserAssigned", "userAssignedIdentities": ids}
    properties = {"authMode": live["properties"]["authMode"], "publicNetworkAccess": "Enabled"}
    arm.put(id_, {"location": live["location"], "tags": live["tags"], "identity": identity, "properties": properties})


def test_an_endpoint_answers_whole_and_as_a_stream_the_same(world: World) -> None:
    (whole,) = world.platform.invoke("chatbot", question())
    assert whole["model"] == FIRST
    chunks = list(world.platform.invoke("chatbot", question(stream=True)))
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    assert len(chunks) >= 3
    stream = world.platform.invoke("chatbot", question(stream=True, max_tokens=1000))
    next(stream)
    stream.close()  # type: ignore[attr-defined]


def test_an_openai_client_is_let_in_by_a_token_and_without_one_it_is_not(world: World) -> None:
    access = world.platform.access("chatbot", 1.0)
    assert access.model == FIRST
    body = json.dumps(question(model=access.model)).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {access.key}"}
    request = urllib.request.Request(f"{access.url}/chat/completions", body, headers)
    with urllib.request.urlopen(request, context=world.subscription.trust(), timeout=60) as answer:
        assert json.load(answer)["model"] == FIRST
    world.platform.session.__dict__["token"] = lambda scope: "nothing"
    try:
        with pytest.raises(KitError, match="answers 401") as caught:
            list(world.platform.invoke("chatbot", question()))
    finally:
        del world.platform.session.__dict__["token"]
    assert caught.value.where == "endpoint chatbot"
    assert caught.value.fix


def test_agents_call_functions_through_the_scoring_uri(world: World) -> None:
    access = world.platform.access("assistant", 1.0)
    environ = world.subscription.environ | trusted(world.subscription.home)
    require_agents_work(access.url, access.key, access.model, environ)


def test_what_the_model_refuses_is_said_in_its_words(world: World) -> None:
    with pytest.raises(KitError, match=r"answers 400: .*temperature") as caught:
        list(world.platform.invoke("chatbot", question(temperature=-1)))
    assert caught.value.where == "endpoint chatbot"


def test_what_is_live_is_told_and_its_lines(world: World) -> None:
    live = world.platform.live("chatbot")
    sha256 = world.platform.outputs.endpoints["chatbot"].sha256
    assert (live.ready, live.problem, live.drift) == (True, "", ())
    assert live.models == {sha256: 1.0}
    assert live.workers == 1
    assert live.changed
    assert any("listen" in line.lower() or "ready" in line.lower() for line in world.platform.logs("chatbot", False))


def test_traffic_that_somebody_took_away_is_found_and_set_again(world: World) -> None:
    arm, id_ = world.platform.session.arm, endpoint_id(world.platform.azure, "chatbot")
    sha256 = world.platform.outputs.endpoints["chatbot"].sha256
    before = arm.get(id_)
    take_traffic_away(world)
    assert world.platform.live("chatbot").problem == "no deployment gets requests"
    world.platform.set_traffic("chatbot", {sha256: 1.0})
    after = arm.get(id_)
    assert after["tags"] == before["tags"]
    assert after["properties"]["traffic"] == before["properties"]["traffic"]
    assert world.platform.live("chatbot").ready
    with pytest.raises(KitError, match="has not loaded"):
        world.platform.set_traffic("chatbot", {"0" * 64: 1.0})


def test_an_endpoint_that_is_gone_is_told(world: World) -> None:
    arm, id_ = world.platform.session.arm, endpoint_id(world.platform.azure, "chatbot")
    take_traffic_away(world)
    for deployment in list(arm.list(f"{id_}/deployments")):
        arm.delete(deployment["id"])
    arm.delete(id_)
    assert "there is no such endpoint" in world.platform.live("chatbot").problem
