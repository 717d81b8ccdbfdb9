"""Shared parts of the look-ups of each kind of resource: Resource Manager, the kit's types, tags, names, prices."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from llmops_kit.cli.machines.prices import Price, Prices, load_prices
from llmops_kit.cli.platforms.azure.job_states import moment
from llmops_kit.cli.platforms.sweep import Thing
from llmops_kit.clouds.account_names import named_after
from llmops_kit.clouds.azure.arm import Document, ResourceManager
from llmops_kit.clouds.azure.names import PROJECT_TAG, STACK_TAG
from llmops_kit.core.expiry import EXPIRES_TAG

NO_KIND = "not a kind of resource that the kit creates"
_HOURS_A_MONTH, _DAYS_A_MONTH = 730, 730 / 24


class Type(NamedTuple):
    """A type of resource that the kit creates."""

    kind: str
    """Its name for users."""
    data: bool = False
    """Whether `llmops down` keeps it."""


_ML = "Microsoft.MachineLearningServices/workspaces"
WORKSPACE = Type("workspace", data=True)
ENDPOINT, DEPLOYMENT, CLUSTER = Type("endpoint"), Type("deployment"), Type("cluster")
SCHEDULE = Type("schedule")
MODEL, ENVIRONMENT = Type("model version"), Type("environment version")
GROUP = Type("resource group", data=True)
ASSIGNMENT, BUDGET = Type("role assignment"), Type("budget")
CONTAINER = Type("container", data=True)
DELETED_VAULT = Type("deleted vault", data=True)
DELETED_LOGS = Type("deleted logs", data=True)
IDENTITY = Type("identity")
REGISTRY = Type("registry", data=True)
ACCOUNT, VAULT = Type("storage account", data=True), Type("vault", data=True)
QUERY_ALERT, METRIC_ALERT = Type("query alert"), Type("metric alert")
SCALING, ACTION_GROUP = Type("scaling"), Type("action group")
METRICS, LOGS = Type("metrics", data=True), Type("logs", data=True)
PRIVATE_ENDPOINT = Type("private endpoint")
ZONE, LINK = Type("DNS zone"), Type("DNS link")
# Names of types in a subscription's list of resources.
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
        "Microsoft.Network/privateEndpoints": PRIVATE_ENDPOINT,
        "Microsoft.Network/privateDnsZones": ZONE,
        "Microsoft.Network/privateDnsZones/virtualNetworkLinks": LINK,
    }.items()
}


@dataclass(frozen=True)
class AzureLook:
    """Session, resource list and prices that the look-ups of each kind share."""

    arm: ResourceManager
    subscription: str
    project: str
    lines: list[Document]
    """Entries of the subscription's list of resources: id, type, name, location, tags."""
    _prices: dict[str, Prices] = field(default_factory=dict)

    @property
    def root(self) -> str:
        """Id of the subscription."""
        return f"/subscriptions/{self.subscription}"

    def of_type(self, name: str) -> list[Document]:
        """Returns the listed resources of a type, the kit's and others'."""
        return [line for line in self.lines if line["type"].lower() == name.lower()]

    def thing(self, type_: Type, id_: str, tags: Mapping[str, str], **more: Any) -> Thing:
        """Returns a resource with its tags."""
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
        """Returns whether a resource with these tags belongs to the project."""
        return (tags or {}).get(PROJECT_TAG) == self.project

    def named(self, stacks: Iterable[str], *things: str) -> dict[str, str]:
        """Returns name -> stack for the program's names of stacks' resources (infra/resource_names.py)."""
        return {named_after(self.project, stack, thing): stack for stack in stacks for thing in things}

    def prices(self, location: str) -> Prices:
        """Returns a location's prices in dollars; they are loaded once."""
        if location not in self._prices:
            self._prices[location] = load_prices(location)
        return self._prices[location]

    def month(self, price: Price | None, times: float = 1.0) -> float | None:
        """Returns the dollars per month of `times` resources with a price per hour; None if it is unknown."""
        return price and price.amount * _HOURS_A_MONTH * times

    def flat_cost(self, type_: Type, line: Document) -> float | None:
        """Returns the dollars per month of a resource with a fixed price; None if it is unknown, or depends on use."""
        prices = self.prices(str(line.get("location") or ""))
        if type_ is REGISTRY:
            tier = str((line.get("sku") or {}).get("name", "Basic"))
            price = prices.other(f"registry_{tier.lower()}_day")
            return price and price.amount * _DAYS_A_MONTH
        if type_ is PRIVATE_ENDPOINT:
            return self.month(prices.other("private_endpoint_hour"))
        monthly = {QUERY_ALERT: "query_alert_month", METRIC_ALERT: "metric_alert_month"}.get(type_, "")
        price = prices.other(monthly)
        return price and price.amount


def created(document: Document) -> datetime | None:
    """Returns when a resource was created; None if its service does not say."""
    return moment(document.get("createdTime") or (document.get("systemData") or {}).get("createdAt"))
