"""Endpoints on a twin of Azure that runs the real serving image: changes under load, rollouts, and going back."""

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract.layout import MANIFEST
from contract.outputs import StackOutputs
from hosting import images
from llmops.platforms.registry import open_platform
from tests.support.azure_twin import AzureStack, Subscription, make_stack, running_twin
from tests.support.models import copy_model, tiny_model

ROLLOUT = {"strategy": "canary", "canary_percent": 30, "bake_seconds": 3}
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
    made_of = {"serving": images.build("serving"), "training": f"process:training@sha256:{'7' * 64}"}
    made = make_stack(subscription, tmp_path / "dev", "dev", images=made_of)
    made.serve("chat", made.add_version("chatbot@1"), rollout=ROLLOUT)
    made.up()
    return made


@contextmanager
def asked(stack: AzureStack) -> Iterator[Counter[str]]:
    """Ask the endpoint all the time meanwhile; how often each version answered, and what else came."""
    assert stack.subscription
    found: Counter[str] = Counter()
    done = threading.Event()
    with stack.subscription.entered():
        platform = open_platform(StackOutputs.parse(json.dumps(stack.outputs()), where="outputs"))

        def ask() -> None:
            while not done.is_set():
                try:
                    found[next(iter(platform.invoke("chat", QUESTION)))["model"]] += 1
                except Exception as e:
                    found[f"failed: {e}"] += 1
                time.sleep(0.02)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield found
        finally:
            done.set()
            thread.join()


def add_forgetful(stack: AzureStack, alias: str) -> str:
    """A version that does not answer its golden prompt as it should."""
    assert stack.subscription
    folder = copy_model(tiny_model(), stack.folder / "incoming" / alias)
    golden = [{"messages": [{"role": "user", "content": "hi"}], "expect": ["what-no-model-says"], "max_tokens": 4}]
    manifest = json.loads((folder / MANIFEST).read_text()) | {"name": alias.partition("@")[0], "golden": golden}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with stack.subscription.entered():
        platform = open_platform(StackOutputs.parse(json.dumps(stack.outputs()), where="outputs"))
        ref = platform.store().put_model(folder, platform.sign)
    return f"{ref.alias}@sha256:{ref.sha256}"


def test_no_request_is_lost_by_changes_and_a_worse_version_goes_back_by_itself(stack: AzureStack) -> None:
    assert stack.changes() == {}
    stack.pulumi("refresh", "--yes", "--skip-preview")
    assert stack.changes() == {}, "refresh and the program agree on traffic and instances"
    first = stack.entries["chat"]["model"]

    with asked(stack) as answers:
        stack.settings["azure"] = {**stack.settings["azure"], "tags": {"team": "chat"}}
        stack.up()
    assert set(answers) == {"chatbot@1"}, "a PUT of the endpoint has the traffic with it"
    assert stack.changes() == {}

    stack.serve("chat", add_forgetful(stack, "chatbot@2"), rollout=ROLLOUT)
    with asked(stack) as answers:
        refused = stack.up(refused=True)
    assert "was rolled back: it answers 0% of its golden prompts as expected" in refused
    assert f"go back with `llmops:endpoints.chat.model: {first}`" in refused
    assert set(answers) <= {"chatbot@1", "chatbot@2"}
    assert "was rejected at" in stack.pulumi("preview", refused=True)

    stack.serve("chat", first, rollout=ROLLOUT)
    undone = stack.changes()
    assert {op for name, op in undone.items() if "chatbot-2" in name} == {"delete"}
    assert not any("chatbot-1" in name for name in undone), "the old deployment never went away"
    stack.up()

    stack.serve("chat", stack.add_version("chatbot@3", licence="another"), rollout=ROLLOUT)
    with asked(stack) as answers:
        said = stack.up()
    assert "30 % of the requests go to chatbot-3-" in said
    assert set(answers) == {"chatbot@1", "chatbot@3"}
    assert stack.changes() == {}

    stack.entries["chat"]["endpoint"] = False
    stack.up()
    assert stack.outputs()["endpoints"]["chat"]["on"] is False
