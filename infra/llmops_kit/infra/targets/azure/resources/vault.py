"""The Key Vault, and the key in it that signs model versions; the private key never leaves the vault."""

import pulumi
from pulumi_azure_native import keyvault

from llmops_kit.infra.signing_keys import numbered, trusted_keys
from llmops_kit.infra.targets.azure.providers.signing_key import Signing
from llmops_kit.infra.targets.azure.resources.context import AzureSigningKeys, AzureStack, AzureVault
from llmops_kit.settings.signing import SigningSettings

_RETENTION_DAYS = 90


def declare_vault(stack: AzureStack) -> AzureVault:
    """Declare the vault, unless an existing one is given. Role assignments control access to it."""
    if stack.azure.vault:
        return AzureVault(stack.azure.vault, stack.inventory.found.vault_url, [])
    entry, private = stack.inventory.vault, stack.inventory.private
    made = keyvault.Vault(
        entry.logical,
        vault_name=entry.name,
        properties=keyvault.VaultPropertiesArgs(
            tenant_id=stack.location.tenant,
            sku=keyvault.SkuArgs(family=keyvault.SkuFamily.A, name=keyvault.SkuName.STANDARD),
            enable_rbac_authorization=True,
            enable_soft_delete=True,
            enable_purge_protection=True,
            soft_delete_retention_in_days=_RETENTION_DAYS,
            public_network_access="Disabled" if private else "Enabled",
            network_acls=keyvault.NetworkRuleSetArgs(
                bypass=keyvault.NetworkRuleBypassOptions.AZURE_SERVICES,
                default_action=keyvault.NetworkRuleAction.DENY if private else keyvault.NetworkRuleAction.ALLOW,
            ),
        ),
        **stack.placed,
        opts=stack.options(entry, protect=True),
    )
    url = made.properties.apply(lambda properties: str(properties.vault_uri).rstrip("/"))
    return AzureVault(made.id, url, [made])


def declare_signing_keys(
    stack: AzureStack, vault: AzureVault, after: list[pulumi.Resource], signing: SigningSettings
) -> AzureSigningKeys:
    """Declare the keys, unless an existing one is given, and read their public keys.

    Args:
        stack: that is declared.
        vault: where they are created.
        after: role assignments, among them the one to read them.
        signing: the settings of keys.
    """
    found = [_declare_key(stack, vault, after, number) for number in range(signing.keys, 0, -1)]
    return AzureSigningKeys(found[0].reference, trusted_keys(signing, [each.public_key for each in found]))


def _declare_key(stack: AzureStack, vault: AzureVault, after: list[pulumi.Resource], number: int) -> Signing:
    shared, name = bool(stack.azure.vault), numbered("signing", number)
    return Signing(
        stack.inventory.names.kept(numbered("signing-key", number)),
        stack.location,
        stack.after(*vault.ready, *after),
        vault=stack.inventory.id_of("vault"),
        name=stack.inventory.names.of(name) if shared else name,
        given=stack.azure.signing_key,
        shared=shared,
        tags=stack.inventory.all_tags,
    )
