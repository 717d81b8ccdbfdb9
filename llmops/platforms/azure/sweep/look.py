"""What the looks at each kind of thing share: Resource Manager, the kit's types, tags, names, prices."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from clouds.names import named_after
from contract.expiry import EXPIRES_TAG
from llmops.plan.prices import Price, Prices, load_prices
from llmops.platforms.azure.arm import ML_API, Arm, Document
from llmops.platforms.azure.removal import STACK_TAG
from llmops.platforms.sweep import Thing

PROJECT_TAG = "llmops:project"
NO_KIND = "no kind of thing that the kit makes"
_HOURS_A_MONTH, _DAYS_A_MONTH = 730, 730 / 24


class Type(NamedTuple):
    """A type of resource that the kit makes."""

    kind: str
    """In words."""
    api_version: str
    data: bool = False
    """`llmops down` keeps it."""


_ML = "Microsoft.MachineLearningServices/workspaces"
WORKSPACE = Type("workspace", ML_API, data=True)
ENDPOINT, DEPLOYMENT, CLUSTER = Type("endpoint", ML_API), Type("deployment", ML_API), Type("cluster", ML_API)
SCHEDULE = Type("schedule", ML_API)
MODEL, ENVIRONMENT = Type("model version", ML_API), Type("environment version", ML_API)
GROUP = Type("resource group", "2024-03-01", data=True)
ASSIGNMENT, BUDGET = Type("role assignment", "2022-04-01"), Type("budget", "2024-08-01")
CONTAINER = Type("container", "2024-01-01", data=True)
DELETED_VAULT = Type("deleted vault", "2024-11-01", data=True)
DELETED_LOGS = Type("deleted logs", "2023-09-01", data=True)
IDENTITY = Type("identity", "2023-01-31")
REGISTRY = Type("registry", "2023-01-01-preview", data=True)
ACCOUNT, VAULT = Type("storage account", "2024-01-01", data=True), Type("vault", "2024-11-01", data=True)
QUERY_ALERT, METRIC_ALERT = Type("query alert", "2025-01-01-preview"), Type("metric alert", "2018-03-01")
SCALING, ACTION_GROUP = Type("scaling", "2021-05-01-preview"), Type("action group", "2024-10-01-preview")
METRICS, LOGS = Type("metrics", "2020-02-02", data=True), Type("logs", "2023-09-01", data=True)
DOOR = Type("private endpoint", "2024-05-01")
ZONE, LINK = Type("DNS zone", "2024-06-01"), Type("DNS link", "2024-06-01")
# As a subscription's list of resources has them.
TYPES = {
    name.lower(): type_
    for name, type_ in {
        _ML: WORKSPACE,
        f"{_ML}/onlineEndpoints": ENDPOINT,
        f"{_ML}/onlineEndpoints/deployments": DEPLOYMENT,
        f"{_ML}/computes": CLUSTER,
        "Microsoft.ManagedIdentity/userAssignedIdentities": IDENTITY,
        "Microsoft.Storage/storageAccounts": ACCOUNT,
        "Microsoft.KeyVault/vaults": VAULT,
        "Microsoft.ContainerRegistry/registries": REGISTRY,
        "Microsoft.OperationalInsights/workspaces": LOGS,
        "Microsoft.Insights/components": METRICS,
        "Microsoft.Insights/scheduledQueryRules": QUERY_ALERT,
        "Microsoft.Insights/metricAlerts": METRIC_ALERT,
        "Microsoft.Insights/autoscaleSettings": SCALING,
        "Microsoft.Insights/actionGroups": ACTION_GROUP,
        "Microsoft.Network/privateEndpoints": DOOR,
        "Microsoft.Network/privateDnsZones": ZONE,
        "Microsoft.Network/privateDnsZones/virtualNetworkLinks": LINK,
    }.items()
}


@dataclass(frozen=True)
class Look:
    """What the looks at each kind share."""

    arm: Arm
    subscription: str
    project: str
    lines: list[Document]
    """Every resource of the subscription, as its list has it: id, type, name, location, tags."""
    _prices: dict[str, Prices] = field(default_factory=dict)

    @property
    def root(self) -> str:
        """Id of the subscription."""
        return f"/subscriptions/{self.subscription}"

    def of_type(self, name: str) -> list[Document]:
        """The listed resources of a type, the kit's and others'."""
        return [line for line in self.lines if line["type"].lower() == name.lower()]

    def thing(self, type_: Type, id_: str, tags: Mapping[str, str], **more: Any) -> Thing:
        """A thing with its tags."""
        _, provider, path = id_.rpartition("/providers/")
        return Thing(
            type_.kind,
            "/".join(path.split("/")[2::2]) if provider else id_.rpartition("/")[2],
            id_,
            project=tags.get(PROJECT_TAG, ""),
            stack=tags.get(STACK_TAG, ""),
            expires=tags.get(EXPIRES_TAG, ""),
            **{"data": type_.data, **more},
        )

    def is_ours(self, tags: Mapping[str, str] | None) -> bool:
        """Does something with these tags belong to the project?"""
        return (tags or {}).get(PROJECT_TAG) == self.project

    def named(self, stacks: Iterable[str], *things: str) -> dict[str, str]:
        """What the program names things of stacks (infra/names.py): name -> stack."""
        return {named_after(self.project, stack, thing): stack for stack in stacks for thing in things}

    def guid(self, stack: str, *parts: str) -> str:
        """What the program names a thing of a stack that Azure names by a UUID (infra/names.py)."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join((self.project, stack, self.subscription, *parts))))

    def prices(self, location: str) -> Prices:
        """Of a location."""
        if location not in self._prices:
            self._prices[location] = load_prices(location)
        return self._prices[location]

    def month(self, price: Price | None, times: float = 1.0) -> float | None:
        """Dollars a month of so many things with a price an hour; None: not known."""
        return price and price.amount * _HOURS_A_MONTH * times

    def flat_cost(self, type_: Type, line: Document) -> float | None:
        """Dollars a month of what has a fixed price; None: not known, or it costs by use."""
        prices = self.prices(str(line.get("location") or ""))
        if type_ is REGISTRY:
            tier = str((line.get("sku") or {}).get("name", "Basic"))
            price = prices.other(f"registry_{tier.lower()}_day")
            return price and price.amount * _DAYS_A_MONTH
        if type_ is DOOR:
            return self.month(prices.other("private_endpoint_hour"))
        monthly = {QUERY_ALERT: "query_alert_month", METRIC_ALERT: "metric_alert_month"}.get(type_, "")
        price = prices.other(monthly)
        return price and price.amount


def moment(text: object) -> datetime | None:
    """A time as Azure writes it, with up to seven digits of a second; None where it says none."""
    if not text:
        return None
    whole, _, fraction = str(text).removesuffix("Z").removesuffix("+00:00").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6] or '0'}").replace(tzinfo=UTC)


def created(document: Document) -> datetime | None:
    """When a resource was made, where its service says so."""
    return moment(document.get("createdTime") or (document.get("systemData") or {}).get("createdAt"))
