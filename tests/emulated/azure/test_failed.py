"""Endpoints and deployments that Azure keeps as Failed: the next `up` mends them, whatever the state holds of them."""

import json
import re
from collections.abc import Iterator

import pytest

from llmops_kit.local_runtime import process_images
from tests.support.clouds.azure_twin import TRAINING, AzureStack, Subscription, make_stack

VERSIONS = ("served", "stuck", "again", "failed")


@pytest.fixture(scope="module")
def lasting(subscription: Subscription, tmp_path_factory: pytest.TempPathFactory) -> tuple[AzureStack, dict[str, str]]:
    """A stack, and a version in its store for each endpoint: deployments are called by theirs."""
    made = make_stack(subscription, tmp_path_factory.mktemp("lasting").resolve(), "dev")
    return made, {name: made.add_version(f"{name}@1") for name in VERSIONS}


@pytest.fixture
def stack(lasting: tuple[AzureStack, dict[str, str]]) -> Iterator[AzureStack]:
    """The stack, whose endpoints the next update may remove: it has no entries."""
    made, _ = lasting
    yield made
    made.twin.clear_faults()
    made.entries.clear()


@pytest.fixture
def running(stack: AzureStack) -> Iterator[AzureStack]:
    """The stack while its subscription runs images."""
    usual = stack.settings["images"]
    stack.settings["images"] = {"serving": process_images.build("serving"), "training": TRAINING}
    stack.twin.admin("PUT", "settings", {"containers": "run"})
    yield stack
    stack.twin.admin("PUT", "settings", {"containers": "none"})
    stack.settings["images"] = usual


def test_the_next_updates_mend_what_failed(lasting: tuple[AzureStack, dict[str, str]], stack: AzureStack) -> None:
    """One that served, one that Azure fails to remove as well, an endpoint, and one that no refresh has seen."""
    _, versions = lasting
    stack.serve("served", versions["served"])
    stack.up()

    stack.entries["served"]["start_seconds"] = 700
    for name in ("stuck", "again"):
        stack.serve(name, versions[name])
    fail(stack, "served-1-*", "stuck-1-*", "*-again-*")
    refresh(stack)
    assert states(stack) == {"served": "Failed", "stuck": "Failed", "again": ""}

    said = fail(stack, "stuck-1-*")
    assert made_anew(said) == set(), "what has served is put again and never removed, and the other's removal failed"
    refresh(stack)
    assert states(stack) == {"served": "Succeeded", "stuck": "Failed", "again": "Succeeded"}

    stack.serve("failed", versions["failed"])
    said = fail(stack, "failed-1-*")
    assert made_anew(said) == {"stuck"}
    assert states(stack) == dict.fromkeys(("served", "stuck", "again"), "Succeeded") | {"failed": "Failed"}
    planned = stack.changes()
    assert {op for name, op in planned.items() if name.startswith("deployment-failed-")} == {"update"}
    assert not [name for name in planned if any(f"-{mended}" in name for mended in ("served", "stuck", "again"))]
    assert made_anew(stack.up()) == {"failed"}
    assert states(stack) == dict.fromkeys(VERSIONS, "Succeeded")
    assert stack.changes() == {}
    refresh(stack)
    assert stack.changes() == {}


@pytest.mark.long("tests/emulated/azure/test_failed.py::test_the_next_updates_mend_what_failed")
def test_a_deployment_that_failed_is_made_anew_after_a_refresh(
    lasting: tuple[AzureStack, dict[str, str]], stack: AzureStack
) -> None:
    stack.serve("failed", lasting[1]["failed"])
    fail(stack, "failed-1-*")
    assert states(stack) == {"failed": "Failed"}
    refresh(stack)
    planned = stack.changes()
    assert {op for name, op in planned.items() if name.startswith("deployment-failed-")} == {"update"}
    assert made_anew(stack.up()) == {"failed"}
    assert states(stack) == {"failed": "Succeeded"}
    assert stack.changes() == {}


def test_a_repaired_image_serves_with_the_next_update(
    lasting: tuple[AzureStack, dict[str, str]], running: AzureStack
) -> None:
    stack = running
    stack.serve("chat", lasting[1]["served"])
    stack.twin.fault("bad_image", image="process:serving*")
    assert "crashed or terminated" in stack.up(refused=True)
    refresh(stack)

    stack.twin.clear_faults()
    stack.up()
    assert states(stack) == {"chat": "Succeeded"}
    assert stack.changes() == {}


def fail(stack: AzureStack, *names: str) -> str:
    """An update in which the next operation on each of what is called so fails, and does the rest; what it said."""
    for name in names:
        stack.twin.fault("failure", name=name)
    stack.configure()
    said = stack.pulumi("up", "--yes", "--skip-preview", "--continue-on-error", refused=True)
    assert "platform's own" in said
    return said


def made_anew(said: str) -> set[str]:
    """Models of the deployments that an update told to be made anew."""
    return set(re.findall(r"removed its failed deployment (\w+)-1-\S+, which", said))


def refresh(stack: AzureStack) -> None:
    stack.pulumi("refresh", "--yes", "--skip-preview")


def states(stack: AzureStack) -> dict[str, str]:
    """Provisioning states of the endpoints' deployments, by the names of their entries."""
    resources = json.loads(stack.state())["deployment"]["resources"]
    (workspace,) = [
        each["id"] for each in resources if each["type"] == "azure-native:machinelearningservices:Workspace"
    ]
    found = {}
    with stack.twin.entered():
        client = stack.twin.arm()
        for endpoint in client.get(f"{workspace}/onlineEndpoints")["value"]:
            (entry,) = [name for name in stack.entries if f"-{name}-" in endpoint["name"]]
            deployments = client.get(f"{endpoint['id']}/deployments")["value"]
            found[entry] = ",".join(each["properties"]["provisioningState"] for each in deployments)
        client.close()
    return found
