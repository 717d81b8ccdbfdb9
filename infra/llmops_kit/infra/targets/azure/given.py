"""Existing resources on Azure that settings name, as `resolve` finds them."""

from dataclasses import dataclass, field
from typing import NamedTuple


class GivenIdentity(NamedTuple):
    """An identity that a setting names."""

    client_id: str
    principal_id: str
    has_roles: bool  # assigned by its owner; the program assigns those of identities that bootstrap created


@dataclass(frozen=True)
class GivenResources:
    """Properties of the resources that settings name; empty for those that the kit creates."""

    blob_url: str = ""
    vault_url: str = ""
    login_server: str = ""
    logs: str = ""  # resource id of the Log Analytics workspace
    default_account: str = ""  # resource id of the workspace's default storage account
    identities: dict[str, GivenIdentity] = field(default_factory=dict)
