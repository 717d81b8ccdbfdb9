"""What the real plugin has code of its own for, among the types that are known here."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from twins.plugins.azure_native.arm import Arm, Waiting
from twins.plugins.azure_native.rules import Rules, rules
from twins.plugins.plugin import ProviderError

VAULTS = "https://vault.azure.net"
"""The audience of tokens for what is in a vault."""
VAULTS_VERSION = "7.5"
_VAULT = "azure-native:keyvault:Vault"
_ROLE_ASSIGNMENT = "azure-native:authorization:RoleAssignment"


def read_query(known: Rules, inputs: Mapping[str, Any], tenant: str) -> dict[str, str]:
    """What a GET of a resource asks besides its version: a delegated role assignment is found with its tenant."""
    if known.token == _ROLE_ASSIGNMENT and inputs.get("delegatedManagedIdentityResourceId"):
        return {"tenantId": tenant}
    return {}


def delete_in_vault(arm: Arm, identity: str, waiting: Waiting) -> None:
    """Delete a key or a secret by its vault's own API: Resource Manager has no DELETE for them.

    https://learn.microsoft.com/en-us/rest/api/keyvault/keys/delete-key/delete-key

    Raises:
        ProviderError: the vault refuses.
    """
    vault, kind, name = identity.rsplit("/", 2)
    answer = arm.call("GET", vault, {"api-version": rules(_VAULT).api_version}, None, waiting)
    if answer.status == 404:
        return
    if answer.status != 200:
        raise answer.error()
    url = str((answer.body.get("properties") or {}).get("vaultUri") or "").rstrip("/")
    if not url:
        raise ProviderError(f"{vault} shows no vaultUri")
    answer = arm.call(
        "DELETE", f"{url}/{kind}/{quote(name)}", {"api-version": VAULTS_VERSION}, None, waiting, audience=VAULTS
    )
    if answer.status not in (200, 204, 404):
        raise answer.error()
