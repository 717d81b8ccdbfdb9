"""Day 1 and day 2 of what a stack on Azure stands on, by plain `pulumi` commands on a twin."""

import json
import os
import signal
import time
from typing import Any

import pytest

from contract.twin import TWIN_SUBSCRIPTION
from tests.emulated.azure.conftest import MakeStack
from tests.support.azure_twin import AzureStack, Subscription

KEPT = " (llmops down keeps it)"


def held(stack: AzureStack, logical: str) -> dict[str, Any]:
    """What the state holds of a resource."""
    resources = json.loads(stack.state())["deployment"]["resources"]
    return next(r for r in resources if r["urn"].endswith(f"::{logical}"))


def groups(subscription: Subscription) -> list[str]:
    """Names of the subscription's resource groups."""
    with subscription.entered():
        client = subscription.arm()
        found = client.send("GET", "{sub}/resourceGroups", "2024-03-01").json()["value"]
        client.close()
    return [group["name"] for group in found]


def test_a_whole_life_leaves_nothing_but_what_azure_keeps(subscription: Subscription, make: MakeStack) -> None:
    stack = make("life", deploy=False)
    planned = stack.changes()
    assert planned[f"workspace{KEPT}"] == planned[f"store{KEPT}"] == "create"
    assert groups(subscription) == [], "a preview changes nothing"
    stack.up()
    assert stack.changes() == {}, "a second up has nothing to do"
    stack.pulumi("refresh", "--yes")
    assert stack.changes() == {}
    outputs = stack.outputs()
    assert outputs["azure"]["twin"] is True
    assert outputs["signing"]["public_key"].startswith("-----BEGIN PUBLIC KEY-----")
    assert groups(subscription) == [outputs["azure"]["resource_group"]]

    assert KEPT in stack.pulumi("destroy", "--yes", refused=True), "plain destroy names the way out"
    stack.pulumi("destroy", "--yes", "--exclude-protected", "--skip-preview")
    assert stack.changes()["identity-training"] == "create"
    assert not {name for name in stack.changes() if name.endswith(KEPT)}, "what is kept is there as it was"
    stack.up()

    stack.pulumi("state", "unprotect", "--all", "--yes")
    stack.pulumi("destroy", "--yes", "--skip-preview")
    assert groups(subscription) == []
    refused = stack.pulumi("up", "--yes", "--skip-preview", refused=True)
    assert "was deleted, and keeps its name until" in refused
    assert "az keyvault recover --name" in refused


def test_each_change_of_what_is_kept_is_made_in_place(make: MakeStack) -> None:
    stack = make("changed")
    changes: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"log_retention_days": 30}, {f"logs{KEPT}": "update"}),
        ({"runs_days": 30}, {f"storage-lifecycle{KEPT}": "update"}),
        ({"budget": {"monthly_usd": 50, "emails": ["you@example.com"]}}, {"budget": "replace", "alerts": "update"}),
        (
            {"operators": [{"object_id": "aaaaaaaa-0000-0000-0000-000000000000", "kind": "Group"}]},
            {"role-operator-aaaaaaaa-0000-0000-0000-000000000000-registry-acrpush": "create"},
        ),
        (
            {"network": {"mode": "managed"}},
            {f"workspace{KEPT}": "update", f"registry{KEPT}": "update"},
        ),
    ]
    for given, expected in changes:
        stack.settings["azure"] |= given
        planned = stack.changes()
        assert expected.items() <= planned.items(), given
        assert not [name for name, op in planned.items() if "replace" in op and name != "budget"], given
        if "operators" not in given:  # nobody of that id is in the twin's directory
            stack.up()
            assert stack.changes() == {}
        else:
            del stack.settings["azure"]["operators"]


def test_what_a_killed_update_left_is_taken_over(make: MakeStack) -> None:
    stack = make("killed", deploy=False)
    process = stack.start("up", "--yes", "--skip-preview")
    assert process.stdout
    for line in process.stdout:
        if "registry" in line and "creating" in line:
            break
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    stack.pulumi("cancel", "--yes")
    stack.up()
    stack.up()  # to what is declared
    assert stack.changes() == {}
    kinds = [r["urn"] for r in [held(stack, f"registry{KEPT}"), held(stack, f"workspace{KEPT}")]]
    assert len(kinds) == 2


@pytest.mark.parametrize("logical", [f"workspace{KEPT}", "role-training-registry-acrpull", "diagnostics-vault", "work"])
def test_what_the_state_lost_is_taken_over_and_stays_as_it_is(logical: str, make: MakeStack) -> None:
    name = f"lost-{logical.split()[0].rpartition('-')[2]}"
    stack = make(name)
    lost = held(stack, logical)
    stack.pulumi("state", "unprotect", "--all", "--yes")
    stack.pulumi("state", "delete", lost["urn"], "--force", "--yes", "--target-dependents")
    text = stack.up()
    assert "was left by an interrupted update" in text
    stack.up()
    assert held(stack, logical)["id"] == lost["id"]
    assert stack.changes() == {}


def test_two_stacks_share_nothing(subscription: Subscription, make: MakeStack) -> None:
    first, second = make("d" * 40), make("d" * 39 + "e")
    ids = [_ids(stack.state()) for stack in (first, second)]
    assert not ids[0] & ids[1]
    assert len(groups(subscription)) >= 2


def test_a_twins_stack_is_not_touched_from_azure_and_the_reverse(make: MakeStack) -> None:
    stack = make("apart")
    gone = {"ARM_CLOUD_METADATA_URL": ""}
    text = stack.pulumi("up", "--yes", "--skip-preview", refused=True, **gone)
    assert f"subscription {TWIN_SUBSCRIPTION} is asked for at Azure, which can't be" in text
    text = stack.pulumi("refresh", "--yes", refused=True, **gone)
    assert "this stack lives on a twin, but Azure clients here talk to Azure" in text
    stack.settings["azure"]["location"] = "northeurope"
    assert "would be deployed to the twin, northeurope" in stack.up(refused=True)


def _ids(state: str) -> set[str]:
    resources = json.loads(state)["deployment"]["resources"]
    return {r["id"] for r in resources if r["type"].startswith("azure-native:")}
