"""Resource providers are registered, and awaited."""

from types import SimpleNamespace
from typing import Any

import pytest

from llmops_kit.cli.platforms.azure.bootstrap import state
from llmops_kit.cli.platforms.azure.bootstrap.names import AzureBootstrapNames, AzureBootstrapSteps
from llmops_kit.core.errors import KitError

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
WHAT = "resource providers of the subscription"


class Subscription:
    """Its providers, registered but for those that are named; each registers for this many looks."""

    def __init__(self, looks: int, **others: str) -> None:
        self.states = {name: others.get(name.partition(".")[2], "Registered") for name in state.PROVIDERS}
        self.posted: list[str] = []
        self._looks, self._left = looks, dict.fromkeys(self.states, looks)

    def find(self, id_: str) -> dict[str, Any]:
        name = id_.rpartition("/")[2]
        if self.states[name] == "Registering":
            if self._left[name] == 0:
                self.states[name] = "Registered"
            self._left[name] -= 1
        return {"registrationState": self.states[name]}

    def post(self, id_: str, action: str) -> None:
        assert action == "register"
        self.posted.append(id_.rpartition("/")[2])
        self.states[self.posted[-1]] = "Registering"


def run(subscription: Subscription, said: list[str], *, dry_run: bool = False) -> str:
    """What the step says of itself."""
    session: Any = SimpleNamespace(arm=subscription)
    names = AzureBootstrapNames("kit", SUBSCRIPTION)
    work = AzureBootstrapSteps(session=session, names=names, say=said.append, dry_run=dry_run)
    state.providers(work)
    (row,) = work.rows
    assert row["what"] == WHAT
    return row["state"]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_POLL_SECONDS", 0)


def test_new_ones_are_registered_and_awaited_with_those_that_somebody_else_registers() -> None:
    subscription, said = Subscription(3, Cdn="NotRegistered", Storage="Registering"), list[str]()
    assert run(subscription, said) == "changed: Microsoft.Cdn registered"
    assert subscription.posted == ["Microsoft.Cdn"]
    assert set(subscription.states.values()) == {"Registered"}
    assert said[0] == f"{WHAT} …"
    assert any("Microsoft.Cdn" in line and "Microsoft.Storage" in line for line in said[1:])


def test_one_that_somebody_else_registers_is_awaited_and_nothing_posted() -> None:
    subscription = Subscription(2, Network="Registering")
    assert run(subscription, []) == "changed: Microsoft.Network registering -> registered"
    assert (subscription.posted, set(subscription.states.values())) == ([], {"Registered"})


def test_a_dry_run_waits_for_none() -> None:
    subscription = Subscription(100, Cdn="NotRegistered", Network="Registering")
    assert run(subscription, [], dry_run=True) == "would be changed: Microsoft.Cdn registered"
    assert subscription.posted == []
    assert run(Subscription(0), [], dry_run=True) == "is there"


def test_one_that_stays_registering_is_named_with_what_shows_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_REGISTER_SECONDS", 0)
    with pytest.raises(KitError, match=r"Microsoft\.Cdn \(Registering\)") as late:
        run(Subscription(10**6, Cdn="NotRegistered"), [])
    assert late.value.where == f"/subscriptions/{SUBSCRIPTION}"
    assert "`az provider show --namespace Microsoft.Cdn --query registrationState`" in late.value.fix
