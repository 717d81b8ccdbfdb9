"""The registry of the kit's images."""

from typing import Any

import pulumi
from pulumi_azure_native import containerregistry

from llmops_kit.infra.targets.azure.resources.context import AzureIdentity, AzureRegistry, AzureStack

_IMAGES = ("training", "serving")
_UNTAGGED_DAYS = 14


def declare_registry(stack: AzureStack, identity: AzureIdentity | None) -> AzureRegistry:
    """Declare the registry, unless an existing one is given. A push creates its repositories.

    Args:
        stack: that is declared.
        identity: reads the key that encrypts the registry, when one is given.
    """
    if given := stack.azure.registry:
        return AzureRegistry(given, stack.inventory.found.login_server, [])
    entry = stack.inventory.registry
    made = containerregistry.Registry(
        entry.logical,
        registry_name=entry.name,
        sku=containerregistry.SkuArgs(name="Premium" if _is_premium(stack) else "Basic"),
        admin_user_enabled=False,
        anonymous_pull_enabled=False,
        **_premium(stack, identity),
        **stack.placed,
        opts=stack.options(
            entry,
            protect=True,
            depends_on=identity.ready if identity else [],
            hooks=stack.retries(entry, identity),
        ),
    )
    return AzureRegistry(made.id, made.login_server, [made])


def repositories(registry: AzureRegistry) -> dict[str, pulumi.Output[str]]:
    """Returns image -> its repository, with the login server."""
    return {name: pulumi.Output.concat(registry.login_server, "/", name) for name in _IMAGES}


def _is_premium(stack: AzureStack) -> bool:
    """Returns whether the registry must be Premium, which private endpoints and customer-managed keys require.

    https://learn.microsoft.com/azure/container-registry/container-registry-skus
    """
    return stack.inventory.isolated or bool(stack.azure.encryption.key)


def _premium(stack: AzureStack, identity: AzureIdentity | None) -> dict[str, Any]:
    if not _is_premium(stack):
        return {}
    found: dict[str, Any] = {
        "policies": containerregistry.PoliciesArgs(
            retention_policy=containerregistry.RetentionPolicyArgs(days=_UNTAGGED_DAYS, status="enabled")
        )
    }
    if stack.inventory.private:
        found["public_network_access"] = "Disabled"
    if identity:
        found["identity"] = containerregistry.IdentityPropertiesArgs(
            type=containerregistry.ResourceIdentityType.USER_ASSIGNED,
            user_assigned_identities=pulumi.Output.from_input(identity.id).apply(
                lambda id_: {id_: containerregistry.UserIdentityPropertiesArgs()}
            ),
        )
        found["encryption"] = containerregistry.EncryptionPropertyArgs(
            status="enabled",
            key_vault_properties=containerregistry.KeyVaultPropertiesArgs(
                identity=identity.client_id, key_identifier=stack.azure.encryption.key
            ),
        )
    return found
