"""Storage: one account with the container of versions, which outlives the stack, and the container of runs; and one
account for short-lived data.

In the first account, versioning and soft delete keep, and bill, each replaced or deleted blob for 30 days. Checkpoints
are replaced every few steps, and old ones are of no use. Both features apply to a whole account
(https://learn.microsoft.com/azure/storage/blobs/versioning-overview#pricing-and-billing), so checkpoints have another.
That one is also the workspace's default account, so that jobs and Azure ML need no write access to signed versions.
"""

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi_azure_native import storage

from llmops_kit.infra.targets.azure.inventory import CHECKPOINTS, CONTAINERS
from llmops_kit.infra.targets.azure.resources.context import AzureIdentity, AzureScratch, AzureStack, AzureStorage

_SOFT_DELETE_DAYS = 30
_WORK_FOLDERS = ("runs", "captures")


def declare_storage(stack: AzureStack, identity: AzureIdentity | None) -> AzureStorage:
    """Declare the account and both containers, unless existing ones are given.

    Args:
        stack: that is declared.
        identity: reads the key that encrypts the account, when one is given.
    """
    ids, given = stack.inventory, stack.azure
    if given.storage_account:
        account, name, ready = given.storage_account, given.storage_account.rpartition("/")[2], []
        url, group = pulumi.Output.from_input(ids.found.blob_url), given.storage_account.split("/")[4]
    else:
        made = declare_account(stack, "storage", f"Standard_{given.redundancy}", identity)
        account, name, url, group = made.id, made.name, _url(made), stack.group
        ready = [made, *_services(stack, made.name)]
    missing = [word for word in CONTAINERS if not getattr(given, f"{word}_container")]
    return AzureStorage(
        id=account,
        account=name,
        blob_url=url.apply(lambda text: text.rstrip("/")),
        store=ids.container_name("store"),
        work=ids.container_name("work"),
        ready=[*ready, *(_container(stack, word, name, group, ready) for word in missing)],
    )


def declare_scratch(stack: AzureStack, identity: AzureIdentity | None, data: AzureStorage) -> AzureScratch:
    """Declare the account of checkpoints and of the workspace's own containers. If the account of the data is an
    existing one, it is used: its owner decides how long deleted blobs are kept.

    Args:
        stack: that is declared.
        identity: reads the key that encrypts the account, when one is given.
        data: storage of versions and runs.
    """
    if stack.azure.storage_account:
        return AzureScratch(data.id, data.account, data.work, data.ready, own=False)
    made = declare_account(stack, "scratch", "Standard_LRS", identity)
    expiring = _lifecycle(stack, "scratch", made.name, [_expiring(stack, [f"{CHECKPOINTS}/"])], [made])
    container = _container(stack, CHECKPOINTS, made.name, stack.group, [made, expiring])
    return AzureScratch(made.id, made.name, CHECKPOINTS, [made, expiring, container], own=True)


def _url(account: storage.StorageAccount) -> pulumi.Output[str]:
    return account.primary_endpoints.apply(lambda endpoints: endpoints.blob)


def declare_account(
    stack: AzureStack,
    word: str,
    sku: str,
    identity: AzureIdentity | None,
    *,
    ignore_changes: Sequence[str] = (),
    **others: Any,
) -> storage.StorageAccount:
    """Declare a storage account that is read with tokens of Microsoft Entra ID alone, and outlives the stack.

    Args:
        stack: that is declared.
        word: storage, scratch or audit.
        sku: redundancy of the account.
        identity: reads the key that encrypts the account, when one is given.
        ignore_changes: properties that others change.
        others: further arguments of the account.
    """
    entry, private = stack.inventory.account(word), stack.inventory.private
    return storage.StorageAccount(
        entry.logical,
        account_name=entry.name,
        kind=storage.Kind.STORAGE_V2,
        sku=storage.SkuArgs(name=sku),
        access_tier=storage.AccessTier.HOT,
        allow_blob_public_access=False,
        allow_cross_tenant_replication=False,
        allow_shared_key_access=False,  # only tokens of Microsoft Entra ID
        default_to_o_auth_authentication=True,
        enable_https_traffic_only=True,
        is_local_user_enabled=False,
        minimum_tls_version=storage.MinimumTlsVersion.TLS1_2,
        public_network_access="Disabled" if private else "Enabled",
        network_rule_set=storage.NetworkRuleSetArgs(
            default_action=storage.DefaultAction.DENY if private else storage.DefaultAction.ALLOW,
            bypass="AzureServices",
        ),
        encryption=_encryption(stack, identity),
        identity=storage.IdentityArgs(type="UserAssigned", user_assigned_identities=[identity.id])
        if identity
        else None,
        **stack.placed,
        **others,
        opts=pulumi.ResourceOptions.merge(
            pulumi.ResourceOptions(ignore_changes=list(ignore_changes)) if ignore_changes else None,
            stack.options(
                entry,
                protect=True,
                depends_on=identity.ready if identity else [],
                hooks=stack.retries(entry, identity),
            ),
        ),
    )


def expire_appended(stack: AzureStack, word: str, account: storage.StorageAccount, days: int) -> None:
    """Declare that logs, which are append blobs, are deleted after a while, with their versions."""
    modified = storage.DateAfterModificationArgs(days_after_modification_greater_than=days)
    created = storage.DateAfterCreationArgs(days_after_creation_greater_than=days)
    actions = storage.ManagementPolicyActionArgs(
        base_blob=storage.ManagementPolicyBaseBlobArgs(delete=modified),
        version=storage.ManagementPolicyVersionArgs(delete=created),
    )
    _lifecycle(stack, word, account.name, [_rule("logs", actions, [], "appendBlob")], [account])


def _encryption(stack: AzureStack, identity: AzureIdentity | None) -> storage.EncryptionArgs:
    service = storage.EncryptionServiceArgs(enabled=True, key_type="Account")
    services = storage.EncryptionServicesArgs(blob=service, file=service)
    if identity is None:
        return storage.EncryptionArgs(
            key_source="Microsoft.Storage", require_infrastructure_encryption=True, services=services
        )
    vault, _, rest = stack.azure.encryption.key.partition("/keys/")
    name, _, version = rest.partition("/")
    return storage.EncryptionArgs(
        key_source="Microsoft.Keyvault",
        require_infrastructure_encryption=True,
        services=services,
        encryption_identity=storage.EncryptionIdentityArgs(encryption_user_assigned_identity=identity.id),
        key_vault_properties=storage.KeyVaultPropertiesArgs(
            key_name=name, key_vault_uri=f"{vault}/", key_version=version
        ),
    )


def _services(stack: AzureStack, account: pulumi.Input[str]) -> Sequence[pulumi.Resource]:
    """Declares versioning, soft delete and expiry of an account; they outlive the stack if it does."""
    kept = storage.DeleteRetentionPolicyArgs(enabled=True, days=_SOFT_DELETE_DAYS)
    service = storage.BlobServiceProperties(
        stack.inventory.names.kept("storage-blobs"),
        account_name=account,
        resource_group_name=stack.group,
        blob_services_name="default",
        is_versioning_enabled=True,
        delete_retention_policy=kept,
        container_delete_retention_policy=kept,
        opts=stack.options(protect=True),  # Azure creates it with the account, and the plugin adopts it
    )
    container = stack.inventory.container_name("work")
    rules = [_leftovers(), _expiring(stack, [f"{container}/{folder}/" for folder in _WORK_FOLDERS])]
    # Rules about versions need versioning.
    return [service, _lifecycle(stack, "storage", account, rules, [service])]


def _lifecycle(
    stack: AzureStack,
    word: str,
    account: pulumi.Input[str],
    rules: Sequence[storage.ManagementPolicyRuleArgs],
    after: Sequence[pulumi.Resource],
) -> storage.ManagementPolicy:
    entry = stack.inventory.lifecycle(word)
    return storage.ManagementPolicy(
        entry.logical,
        account_name=account,
        resource_group_name=stack.group,
        management_policy_name="default",
        policy=storage.ManagementPolicySchemaArgs(rules=list(rules)),
        opts=stack.options(entry, protect=True, depends_on=list(after)),
    )


def _leftovers() -> storage.ManagementPolicyRuleArgs:
    """Returns the rule that deletes old versions of blobs after a while; current ones stay."""
    after = storage.DateAfterCreationArgs(days_after_creation_greater_than=_SOFT_DELETE_DAYS)
    return _rule(
        "leftovers",
        storage.ManagementPolicyActionArgs(
            version=storage.ManagementPolicyVersionArgs(delete=after),
        ),
        [],
    )


def _expiring(stack: AzureStack, prefixes: list[str]) -> storage.ManagementPolicyRuleArgs:
    days = storage.DateAfterModificationArgs(days_after_modification_greater_than=stack.azure.runs_days)
    return _rule(
        "runs",
        storage.ManagementPolicyActionArgs(base_blob=storage.ManagementPolicyBaseBlobArgs(delete=days)),
        prefixes,
    )


def _rule(
    name: str, actions: storage.ManagementPolicyActionArgs, prefixes: list[str], blobs: str = "blockBlob"
) -> storage.ManagementPolicyRuleArgs:
    filters = storage.ManagementPolicyFilterArgs(blob_types=[blobs], prefix_match=prefixes or None)
    return storage.ManagementPolicyRuleArgs(
        name=name,
        enabled=True,
        type=storage.RuleType.LIFECYCLE,
        definition=storage.ManagementPolicyDefinitionArgs(actions=actions, filters=filters),
    )


def _container(
    stack: AzureStack,
    word: str,
    account: pulumi.Input[str],
    group: pulumi.Input[str],
    after: Sequence[pulumi.Resource],
) -> storage.BlobContainer:
    entry = stack.inventory.container(word)
    return storage.BlobContainer(
        entry.logical,
        container_name=entry.name,
        account_name=account,
        resource_group_name=group,
        public_access=storage.PublicAccess.NONE,
        opts=stack.options(entry, protect=True if word == "store" else None, depends_on=list(after)),
    )
