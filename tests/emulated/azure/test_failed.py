"""Endpoints and deployments that Azure keeps as Failed: the next `up` mends them, whatever the state holds of them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hosting import images
from tests.support.clouds.azure_twin import TRAINING, AzureStack, Subscription, make_stack

ENDPOINTS = "2025-12-01"
DEPLOYMENT = "chatbot-1-*"


@pytest.fixture(scope="module")
def lasting(subscription: Subscription, tmp_path_factory: pytest.TempPathFactory) -> tuple[AzureStack, str]:
    """A stack, and a version in its store."""
    made = make_stack(subscription, tmp_path_factory.mktemp("lasting").resolve(), "dev")
    return made, made.add_version("chatbot@1")


@pytest.fixture
def stack(lasting: tuple[AzureStack, str]) -> Iterator[AzureStack]:
    """The stack, which is to serve the version."""
    made, version = lasting
    made.serve("chat", version)
    yield made
    made.twin.clear_faults()
    made.entries.clear()
    made.up()


@pytest.fixture
def running(stack: AzureStack) -> Iterator[AzureStack]:
    """The stack while its subscription runs images."""
    usual = stack.settings["images"]
    stack.settings["images"] = {"serving": images.build("serving"), "training": TRAINING}
    stack.twin.admin("PUT", "settings", {"containers": "run"})
    yield stack
    stack.twin.admin("PUT", "settings", {"containers": "none"})
    stack.settings["images"] = usual


@pytest.mark.parametrize(
    "refreshed",
    [pytest.param(False, id="as it failed"), pytest.param(True, id="refreshed", marks=pytest.mark.long)],
)
def test_a_deployment_that_failed_is_made_anew(stack: AzureStack, refreshed: bool) -> None:
    fail(stack, DEPLOYMENT)
    assert states(stack) == ["Failed"]
    if refreshed:
        refresh(stack)
    planned = stack.changes()
    assert {op for name, op in planned.items() if name.startswith("deployment-chat-")} == {"update"}
    assert "whose making failed" in stack.up()
    assert states(stack) == ["Succeeded"]
    assert stack.changes() == {}
    refresh(stack)
    assert stack.changes() == {}


def test_one_that_azure_fails_to_remove_is_told_and_the_next_update_goes_on(stack: AzureStack) -> None:
    for _ in range(2):
        fail(stack, DEPLOYMENT)
        refresh(stack)
    stack.up()
    assert states(stack) == ["Succeeded"]
    assert stack.changes() == {}


def test_a_deployment_that_serves_is_put_again_and_never_removed(stack: AzureStack) -> None:
    stack.up()
    stack.entries["chat"]["start_seconds"] = 700
    fail(stack, DEPLOYMENT)
    refresh(stack)
    assert states(stack) == ["Failed"]
    assert "whose making failed" not in stack.up()
    assert states(stack) == ["Succeeded"]
    assert stack.changes() == {}


def test_an_endpoint_that_failed_is_put_again(stack: AzureStack) -> None:
    fail(stack, "*-chat-*")
    refresh(stack)
    stack.up()
    assert states(stack) == ["Succeeded"]
    assert stack.changes() == {}


def test_a_repaired_image_serves_with_the_next_update(running: AzureStack) -> None:
    stack = running
    stack.twin.fault("bad_image", image="process:serving*")
    assert "crashed or terminated" in stack.up(refused=True)
    refresh(stack)

    stack.twin.clear_faults()
    stack.up()
    assert states(stack) == ["Succeeded"]
    assert stack.changes() == {}


def fail(stack: AzureStack, name: str) -> None:
    """An update in which the next operation on what is called so fails."""
    stack.twin.fault("failure", name=name)
    assert "platform's own" in stack.up(refused=True)


def refresh(stack: AzureStack) -> None:
    stack.pulumi("refresh", "--yes", "--skip-preview")


def states(stack: AzureStack) -> list[str]:
    """Provisioning states of the deployments of `chat`."""
    resources = json.loads(stack.state())["deployment"]["resources"]
    (endpoint,) = [each["id"] for each in resources if each["type"].endswith(":OnlineEndpoint")]
    with stack.twin.entered():
        client = stack.twin.arm()
        found: list[dict[str, Any]] = client.send("GET", f"{endpoint}/deployments", ENDPOINTS).json()["value"]
        client.close()
    return [each["properties"]["provisioningState"] for each in found]
