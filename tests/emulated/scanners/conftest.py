"""A stack on a twin, whole: a network, an endpoint that is scaled, alarms, a budget, a schedule's roles."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.aws import REGION, Account, AwsStack, make_stack, running_account


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
            "budget": {"monthly_usd": 100, "emails": ["a@example.com"]},
        }
        stack = make_stack(account, folder / "stack", "scan", aws=settings)
        stack.serve("chat", stack.add_version("chatbot@1"), size={"instances": 2, "max_instances": 4})
        stack.up()
        state = stack.state()
        yield Deployed(account, stack, json.loads(state[state.index("{") :]))
