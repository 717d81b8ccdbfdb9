"""What `resolve` finds of the resources on Azure that settings name."""

from dataclasses import dataclass, field
from typing import NamedTuple


class GivenIdentity(NamedTuple):
    """An identity that a setting names."""

    client_id: str
    principal_id: str
    has_roles: bool  # from its owner; what bootstrap made gets them from the program


@dataclass(frozen=True)
class GivenResources:
    """Properties on Azure of the resources that settings name; empty where the kit creates its own."""

    blob_url: str = ""
    vault_url: str = ""
    login_server: str = ""
    logs: str = ""  # resource id of the Log Analytics workspace
    default_account: str = ""  # resource id of the workspace's default storage account
    identities: dict[str, GivenIdentity] = field(default_factory=dict)
