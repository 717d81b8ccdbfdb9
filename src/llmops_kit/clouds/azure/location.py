"""The subscription and location of a stack on Azure, and the identity of this process there: plain values."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from llmops_kit.core.twins import TWIN_SUBSCRIPTION


class AzureLocation(NamedTuple):
    """Subscription, tenant and location of a stack; no secrets. Every dynamic resource stores it."""

    subscription: str
    tenant: str
    location: str

    @classmethod
    def of(cls, props: Mapping[str, Any]) -> "AzureLocation":
        """Reads the location from a dynamic resource's properties."""
        return cls(props["subscription"], props["tenant"], props["location"])

    @property
    def twin(self) -> bool:
        """Whether the subscription id is the one that every Azure twin has."""
        return self.subscription == TWIN_SUBSCRIPTION


class AzureCaller(NamedTuple):
    """The identity of this process in Microsoft Entra ID, by its own token."""

    tenant: str
    object_id: str
    kind: str
    """User, or ServicePrincipal (an application or a managed identity): a role assignment's principalType."""
