"""The Key Vault, and the key in it that signs model versions; its private half never leaves the vault."""

import pulumi
from pulumi_azure_native import keyvault

from clouds.azure.settings import AzureSettings
from contract.errors import KitError
from infra import names
from infra.targets.azure.here import Here, SigningKey, Vault, resource_id
from infra.targets.azure.session import Place, find, look_up
from infra.targets.azure.signing import Signing

_KIND = "Microsoft.KeyVault/vaults"
_API = "2024-11-01"
_RETENTION_DAYS = 90


def provide_vault(here: Here) -> Vault:
    """Declare the vault, unless one is given. Who may do what in it, role assignments say."""
    if given := here.settings.azure.vault:
        found = look_up(here.place, given, _API, "vault")["properties"]
        return Vault(given, str(found["vaultUri"]).rstrip("/"), [], given)
    private = here.settings.azure.network.mode == "existing"
    logical, name = names.kept("vault"), vault_name(here.names, here.caller.subscription)
    id_ = here.id(_KIND, name)
    made = keyvault.Vault(
        logical,
        vault_name=name,
        resource_group_name=here.group,
        location=here.location,
        properties=keyvault.VaultPropertiesArgs(
            tenant_id=here.caller.tenant,
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
        tags=here.all_tags,
        opts=here.adopted("azure-native:keyvault:Vault", logical, id_, _API, protect=True),
    )
    url = made.properties.apply(lambda properties: str(properties.vault_uri).rstrip("/"))
    return Vault(made.id, url, [made], id_)


def provide_signing_key(here: Here, vault: Vault, after: list[pulumi.Resource]) -> SigningKey:
    """Declare the key, unless one is given, and ask for its public half.

    Args:
        here: the stack's place.
        vault: it is made in.
        after: the right to read it, among others.
    """
    shared = bool(here.settings.azure.vault)
    made = Signing(
        names.SIGNING_KEY,
        here.place,
        vault=vault.plain_id,
        name=here.names.of("signing") if shared else "signing",
        given=here.settings.azure.signing_key,
        shared=shared,
        tags=here.all_tags,
        after=[*vault.ready, *after],
    )
    return SigningKey(made.reference, made.public_key)


def vault_name(own: names.CloudNames, subscription: str) -> str:
    """The vault's name, which no other in the world may have."""
    return own.of("vault", 24, subscription)


def require_name(own: names.CloudNames, place: Place, settings: AzureSettings, group: str) -> None:
    """See that no deleted vault has the name: with purge protection, nobody can free it before its days are over.

    https://learn.microsoft.com/azure/key-vault/general/key-vault-recovery

    Raises:
        KitError: one has.
    """
    if settings.vault:
        return
    name = vault_name(own, place.subscription)
    if find(place, resource_id(place.subscription, group, _KIND, name), _API) is not None:
        return
    deleted = f"/subscriptions/{place.subscription}/providers/Microsoft.KeyVault/locations/{place.location}"
    found = find(place, f"{deleted}/deletedVaults/{name}", _API)
    if found is None:
        return
    until = str(found["properties"].get("scheduledPurgeDate", "its retention is over"))
    raise KitError(
        f"vault {name} was deleted, and keeps its name until {until}",
        where="Key Vault",
        fix=f"`az keyvault recover --name {name}` (with group {group}) brings it back with its keys, and `pulumi up` "
        "takes it over; or `pulumi stack init` a stack of another name; or set llmops:azure.vault",
    )
