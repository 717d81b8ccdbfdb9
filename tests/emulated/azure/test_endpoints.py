"""Endpoints on a twin of Azure that runs the real serving image: changes under load, rollouts, going back, scaling."""

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.platforms.registry import open_platform
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.local_runtime import process_images
from tests.support.clouds.azure_twin import AzureStack, Subscription, make_stack, running_twin

ROLLOUT = {"strategy": "canary", "canary_percent": 30, "mirror_percent": 50, "bake_seconds": 3}
QUESTION = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}


@pytest.fixture(scope="module")
def subscription(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subscription]:
    """A subscription that runs images."""
    folder = tmp_path_factory.mktemp("serving").resolve()
    with running_twin(folder, pace=0.05, containers="run") as made:
        yield made
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stack(subscription: Subscription, tmp_path: Path) -> AzureStack:
    """A stack whose endpoint `chat` serves chatbot@1."""
    made_of = {"serving": process_images.build("serving"), "training": f"process:training@sha256:{'7' * 64}"}
    made = make_stack(subscription, tmp_path / "dev", "dev", images=made_of)
    made.serve("chat", made.add_version("chatbot@1"), rollout=ROLLOUT)
    made.up()
    return made


@contextmanager
def asked(stack: AzureStack, at_once: int = 1) -> Iterator[Counter[str]]:
    """Ask the endpoint all the time meanwhile; how often each version answered, and what else came."""
    found: Counter[str] = Counter()
    done = threading.Event()
    with stack.twin.entered():
        platform = open_platform(StackOutputs.parse(json.dumps(stack.outputs()), where="outputs"))

        def ask() -> None:
            while not done.is_set():
                try:
                    found[next(iter(platform.invoke("chat", QUESTION)))["model"]] += 1
                except Exception as e:
                    found[f"failed: {e}"] += 1
                time.sleep(0.05)

        threads = [threading.Thread(target=ask) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        try:
            yield found
        finally:
            done.set()
            for thread in threads:
                thread.join()


def add_forgetful(stack: AzureStack, alias: str) -> str:
    """A version that does not answer its golden prompt as it should."""
    golden = [{"messages": [{"role": "user", "content": "hi"}], "expect": ["what-no-model-says"], "max_tokens": 4}]
    return stack.add_version(alias, golden=golden)


def fired(stack: AzureStack, alert: str) -> bool:
    """Has one of the stack's alerts fired?"""
    found = _arm(stack, "{sub}/providers/Microsoft.AlertsManagement/alerts", "2019-05-05-preview")["value"]
    told = [each["properties"]["essentials"] for each in found if alert in each["name"]]
    return "Fired" in [each["monitorCondition"] for each in told]


def instances(stack: AzureStack) -> list[int]:
    """How many instances each deployment of `chat` has."""
    azure = stack.outputs()["azure"]
    path = f"{{sub}}/resourceGroups/{azure['resource_group']}/providers/Microsoft.MachineLearningServices/workspaces"
    path += f"/{azure['workspace']}/onlineEndpoints/{azure['endpoints']['chat']}/deployments"
    return [each["sku"]["capacity"] for each in _arm(stack, path, "2025-12-01")["value"]]


def _arm(stack: AzureStack, path: str, version: str) -> Any:
    with stack.twin.entered():
        client = stack.twin.arm()
        answer = client.send("GET", path, version)
        client.close()
    answer.raise_for_status()
    return answer.json()


def until(happened: Callable[[], bool]) -> None:
    """Wait for something; a machine that is busy may take a minute."""
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.2)


@pytest.mark.long
def test_no_request_is_lost_by_changes_and_a_worse_version_goes_back_by_itself(stack: AzureStack) -> None:
    stack.pulumi("refresh", "--yes", "--skip-preview")
    assert stack.changes() == {}, "refresh and the program agree on traffic and instances"
    first = stack.entries["chat"]["model"]

    with asked(stack) as answers:
        stack.settings["azure"] = {**stack.settings["azure"], "tags": {"team": "chat"}}
        stack.up()
    assert set(answers) == {"chatbot@1"}, "a PUT of the endpoint has the traffic with it"

    stack.serve("chat", add_forgetful(stack, "chatbot@2"), rollout=ROLLOUT)
    with asked(stack) as answers:
        refused = stack.up(refused=True)
    assert "was rolled back: it answers 0% of its golden prompts as expected" in refused
    assert f"go back with `llmops:endpoints.chat.model: {first}`" in refused
    assert set(answers) <= {"chatbot@1", "chatbot@2"}
    until(lambda: fired(stack, "chat-quality"))
    assert "was rejected at" in stack.pulumi("preview", refused=True)

    stack.serve("chat", first, rollout=ROLLOUT)
    undone = stack.changes()
    assert {op for name, op in undone.items() if "chatbot-2" in name} == {"delete"}
    assert not any("chatbot-1" in name for name in undone), "the old deployment never went away"

    size = {"instances": 1}
    stack.serve("chat", stack.add_version("chatbot@3", licence="another"), rollout=ROLLOUT, size=size)
    with asked(stack) as answers:
        said = stack.up()
    assert "copies of 50 % of the requests go to chatbot-3-" in said
    assert "30 % of the requests go to chatbot-3-" in said.replace("copies of 50 %", "")
    assert set(answers) == {"chatbot@1", "chatbot@3"}

    stack.serve("chat", stack.entries["chat"]["model"], rollout=ROLLOUT, size=size | {"max_instances": 2})
    stack.up()  # nobody asks meanwhile: what autoscale brings to another count is Updating, and not live as declared
    with asked(stack, at_once=3):
        until(lambda: instances(stack) == [2])
    assert stack.changes() == {}, "nothing is left to do: the count of instances is the load's affair"

    stack.entries["chat"]["size"] = {"instances": 1}
    with asked(stack, at_once=3):
        stack.up()
    assert instances(stack) == [1], "a fixed count: autoscaling brings its own back no more"
    assert stack.changes() == {}

    stack.entries["chat"]["endpoint"] = False
    stack.up()
    assert stack.outputs()["endpoints"]["chat"]["on"] is False
