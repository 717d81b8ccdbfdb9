"""The order in which a sweep removes things, and what it says of those that stay."""

from collections.abc import Iterator
from typing import Any

from llmops_kit.cli.platforms.azure.sweep.removal import remove
from llmops_kit.cli.platforms.sweep import RUN, Thing
from llmops_kit.core.errors import KitError

GROUP = "/subscriptions/s/resourceGroups/g"
WORKSPACE = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/w"
ENDPOINT = f"{WORKSPACE}/onlineEndpoints/e"


class Subscription:
    """Notes what is done to it."""

    def __init__(
        self, lists: dict[str, list[dict[str, Any]]], refused: str = "", traffic: dict[str, int] | None = None
    ):
        self.done: list[str] = []
        self.arm = self
        self._lists, self._refused, self._traffic = lists, refused, traffic

    def list(self, id_: str, api_version: str = "", **query: str) -> Iterator[dict[str, Any]]:
        yield from self._lists.get(id_, [])

    def find(self, id_: str) -> dict[str, Any] | None:
        return {"properties": {"traffic": self._traffic}} if self._traffic is not None else None

    def delete(self, id_: str, api_version: str = "", **query: str) -> None:
        if id_ == self._refused:
            raise KitError("Azure refused: Locked", where=id_)
        self.done.append(f"{id_.rpartition('/')[2]}{query or ''}")

    def get(self, id_: str) -> dict[str, Any]:
        return {"properties": {"tags": {"a": "b"}, "provisioningState": "Succeeded"}}

    def put(self, id_: str, body: dict[str, Any]) -> None:
        assert body == {"properties": {"tags": {"a": "b"}, "isArchived": True}}
        self.done.append(f"archive {id_.rpartition('/')[2]}")

    def post(self, id_: str, action: str) -> None:
        self.done.append(f"{action} {id_.rpartition('/')[2]}")


def removed(subscription: Any, *things: Thing) -> list[str]:
    """What it says of those that stay."""
    return remove(subscription, things, lambda _: None)


def test_what_uses_something_goes_before_it() -> None:
    subscription = Subscription({}, traffic={"d": 100})
    group = Thing("resource group", "g", GROUP)
    deployment = Thing("deployment", "w/e/d", f"{ENDPOINT}/deployments/d")
    cluster = Thing("cluster", "w/c", f"{WORKSPACE}/computes/c")
    workspace, endpoint = Thing("workspace", "w", WORKSPACE), Thing("endpoint", "w/e", ENDPOINT)
    job = Thing(RUN, "w/j", f"{WORKSPACE}/jobs/j")
    assert removed(subscription, group, workspace, cluster, endpoint, deployment, job) == []
    assert subscription.done == [
        "cancel j",
        "e",  # with its deployment, which requests come to
        "c{'underlyingResourceAction': 'Delete'}",
        "w{'forceToPurge': 'true'}",
        "g",
    ]


def test_a_deployment_without_requests_goes_by_itself() -> None:
    subscription = Subscription({}, traffic={"d": 0})
    assert removed(subscription, Thing("deployment", "w/e/d", f"{ENDPOINT}/deployments/d")) == []
    assert subscription.done == ["d"]


def test_the_last_version_takes_its_container_along() -> None:
    versions = f"{WORKSPACE}/models/m/versions"
    first = Thing("model version", "w/m/1", f"{versions}/1")
    several, alone = Subscription({versions: [{"id": f"{versions}/2"}]}), Subscription({})
    removed(several, first)
    removed(alone, first)
    assert (several.done, alone.done) == (["archive 1"], ["archive 1", "archive m"])


def test_a_group_with_azures_own_action_group_goes_and_one_with_somebodys_stays() -> None:
    kind = "microsoft.insights/actionGroups"
    at = f"{GROUP}/providers/{kind}"
    own = {"id": f"{at}/Application Insights Smart Detection", "type": kind}
    theirs = {"id": f"{at}/on-call", "type": kind}
    group = Thing("resource group", "g", GROUP)
    alone = Subscription({f"{GROUP}/resources": [own]})
    assert removed(alone, group) == []
    assert alone.done == ["g"]
    assert removed(Subscription({f"{GROUP}/resources": [own, theirs]}), group) == [
        "resource group g: it still holds on-call"
    ]


def test_a_group_that_holds_something_stays_and_what_is_refused_is_told() -> None:
    things = f"{GROUP}/resources"
    own = {"id": f"{GROUP}/x/Failure Anomalies", "type": "microsoft.alertsmanagement/smartDetectorAlertRules"}
    vm = {"id": f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm", "type": "Microsoft.Compute/virtualMachines"}
    group, vault = Thing("resource group", "g", GROUP), Thing("vault", "v", f"{GROUP}/v")
    assert removed(Subscription({things: [own]}), group) == []
    full = Subscription({things: [own, vm]}, refused=vault.id)
    assert removed(full, vault, group, Thing("dashboard", "d", "d")) == [
        "vault v: Azure refused: Locked",
        "resource group g: it still holds vm",
        "dashboard d: remove it by hand",
    ]
    assert full.done == []
