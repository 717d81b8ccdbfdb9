"""Special cases that the real plugin implements in code, for the known types."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from llmops_twins.plugins.azure_native.arm import ArmResponseError, ManagerClient
from llmops_twins.plugins.azure_native.rules import TypeRules, rules
from llmops_twins.plugins.plugin import ProviderError

VAULTS = "https://vault.azure.net"
"""The audience of tokens for a vault's contents."""
VAULTS_VERSION = "7.5"
_VAULT = "azure-native:keyvault:Vault"
_ROLE_ASSIGNMENT = "azure-native:authorization:RoleAssignment"


def read_query(known: TypeRules, inputs: Mapping[str, Any], tenant: str) -> dict[str, str]:
    """Returns the additional query parameters of a resource's GET: a delegated role assignment is found by its
    tenant.
    """
    if known.token == _ROLE_ASSIGNMENT and inputs.get("delegatedManagedIdentityResourceId"):
        return {"tenantId": tenant}
    return {}


def delete_in_vault(arm: ManagerClient, identity: str) -> None:
    """Deletes a key or a secret by its vault's own API, because Resource Manager has no DELETE for them.

    https://learn.microsoft.com/en-us/rest/api/keyvault/keys/delete-key/delete-key

    Raises:
        ProviderError: the vault refuses.
    """
    vault, kind, name = identity.rsplit("/", 2)
    try:
        found = arm.get(vault, {"api-version": rules(_VAULT).api_version})
    except ArmResponseError as error:
        if error.status == 404:
            return
        raise
    url = str((found.get("properties") or {}).get("vaultUri") or "").rstrip("/")
    if not url:
        raise ProviderError(f"{vault} shows no vaultUri")
    place, query = f"{url}/{kind}/{quote(name)}", {"api-version": VAULTS_VERSION}
    arm.send("DELETE", place, query, accepted=(200, 204, 404), audience=VAULTS)
