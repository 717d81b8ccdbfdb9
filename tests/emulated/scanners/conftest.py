"""Stacks on the twins, whole: a network, an endpoint that is scaled, alarms, a budget, a schedule's roles."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.clouds import azure_twin
from tests.support.clouds.aws import REGION, Account, AwsStack, make_stack, running_account
from tests.support.clouds.azure_twin import LOCATION, AzureStack, Subscription, running_twin
from tests.support.stacks import Stack

BUDGET = {"monthly_usd": 100, "emails": ["a@example.com"]}
_NETWORK = "2024-05-01"


@dataclass
class Deployed:
    """What the scanners look at."""

    account: Account
    stack: AwsStack
    state: dict[str, Any]


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("scanned").resolve()
    with running_account(folder, pace=0.05) as account:
        settings = {
            "region": REGION,
            "network": {"mode": "own"},
            "budget": BUDGET,
            "audit": True,
        }
        stack = make_stack(account, folder / "stack", "scan", aws=settings)
        stack.serve("chat", stack.add_version("chatbot@1"), size={"instances": 2, "max_instances": 4})
        stack.up()
        yield Deployed(account, stack, state_of(stack))


@pytest.fixture(scope="session")
def on_azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, AzureStack]]:
    """A whole stack that is reached from anywhere, and one that is reached from a company's network alone."""
    folder = tmp_path_factory.mktemp("scanned").resolve()
    with running_twin(folder, pace=0.0) as subscription:
        network = {"mode": "existing", "subnet": add_subnet(subscription)}
        settings = {"location": LOCATION, "budget": BUDGET}
        private = azure_twin.make_stack(
            subscription, folder / "private", "private", azure={**settings, "network": network, "audit": True}
        )
        opened = azure_twin.make_stack(subscription, folder / "open", "open", azure=settings)
        opened.serve("chat", opened.add_version("chatbot@1"), size={"instances": 2, "max_instances": 4})
        opened.up()
        yield {"open": opened, "private": private}


def add_subnet(subscription: Subscription) -> str:
    """A company's network; its subnet's id."""
    group = f"/subscriptions/{subscription.info.subscription}/resourceGroups/company"
    network = f"{group}/providers/Microsoft.Network/virtualNetworks/company"
    space = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}
    subnets = [{"name": "doors", "properties": {"addressPrefix": "10.0.0.0/24"}}]
    with subscription.entered():
        client = subscription.arm()
        client.change("PUT", group, "2024-03-01", {"location": LOCATION})
        client.change("PUT", network, _NETWORK, {"location": LOCATION, "properties": {**space, "subnets": subnets}})
        client.close()
    return f"{network}/subnets/doors"


def state_of(stack: Stack) -> dict[str, Any]:
    """What the stack's state holds."""
    state = stack.state()
    return json.loads(state[state.index("{") :])
