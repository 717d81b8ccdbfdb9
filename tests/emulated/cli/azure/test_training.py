"""From a recipe to an answer by the command line, on a stack that the real engine deployed on a twin of Azure."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from llmops_kit.cli.platforms.azure.platform import AzurePlatform
from llmops_kit.cli.platforms.registry import open_platform
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.local_runtime import process_images
from tests.emulated.cli.conftest import RECIPE, Kit
from tests.support.clouds.azure_twin import AzureStack, Subscription, make_stack, running_twin
from tests.support.runs.yes_rows import write_yes_rows
from tests.support.tiny_models.models import tiny_model


@dataclass
class World:
    """A deployed stack on a twin, whose store has the tiny model, and the command line in its project."""

    subscription: Subscription
    stack: AzureStack
    kit: Kit

    def platform(self) -> AzurePlatform:
        """The stack as it is deployed now."""
        found = open_platform(StackOutputs.parse(json.dumps(self.stack.outputs()), where="outputs"))
        assert isinstance(found, AzurePlatform)
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("training").resolve()
    built = {name: process_images.build(name, lambda _: None) for name in ("training", "serving")}
    with running_twin(folder, containers="run", pace=0.05) as subscription:
        stack = make_stack(subscription, folder / "stack", "dev", images=built)
        (stack.folder / "recipe.yaml").write_text(RECIPE)
        write_yes_rows(stack.folder)
        kit = Kit(stack.folder, subscription.environ | {"PULUMI_STACK": "dev"})
        with subscription.entered():
            made = World(subscription, stack, kit)
            platform = made.platform()
            platform.store().put_model(tiny_model(), platform.sign)
            yield made
        for process in kit.started:
            process.kill()
            process.communicate()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def trained(world: World) -> dict[str, Any]:
    """A run that its caller followed to its end, and the version that it made."""
    text = world.kit.run("train", "recipe.yaml", "--json")
    run = next(line.split()[1] for line in text.splitlines() if line.startswith("run "))
    return {"run": run, "text": text, **json.loads(text[text.index("\n{") :])}


@pytest.mark.long
def test_a_followed_run_tells_everything(world: World, trained: dict[str, Any]) -> None:
    for words in ("job running", "stage=train", "step=", "job completed", "1 x Standard_DS3_v2, for "):
        assert words in trained["text"]
    assert trained["model"] == "chatbot@1"
    shown = world.kit.json("runs", "show", trained["run"])
    assert (shown["status"], shown["machines"]) == ("completed", "1 x Standard_DS3_v2")
    assert world.kit.run("runs", "collect") == "nothing to collect\n"
    assert "is complete (same recipe" in world.kit.run("train", "recipe.yaml")
    assert [row["run"] for row in world.kit.json("runs", "list")] == [trained["run"]]


@pytest.mark.long
def test_what_was_trained_is_promoted_and_answers(world: World, trained: dict[str, Any]) -> None:
    world.stack.serve("chatbot", trained["promoted_as"])
    world.stack.up()
    answer = world.kit.json("invoke", "chatbot", "Tell me w1?", "--max-tokens", "6")
    assert answer["model"] == "chatbot@1"
    (shown,) = world.kit.json("status")["endpoints"]
    assert (shown["serves"], shown["state"]) == ("chatbot@1", "ready")
    token = world.kit.json("status", "--env", "chatbot")
    assert token["base_url"].endswith("/v1")
    assert "after about an hour" in world.kit.run("status", "--env", "chatbot", "--hours", "5", code=1)
    assert world.kit.run("logs", "chatbot")
