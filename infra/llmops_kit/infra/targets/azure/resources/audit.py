"""`audit: true`: a copy of the audit logs that nobody can change, and alerts on the use of keys and on their change.

The logs themselves are on with or without it (`observe.declare_diagnostics`); Log Analytics keeps them for
`log_retention_days`, but who may purge that workspace may delete them.
"""

import pulumi
from pulumi_azure_native import monitor, storage

from llmops_kit.infra.targets.azure.resources.alerts import declare_log_alert
from llmops_kit.infra.targets.azure.resources.context import AzureIdentity, AzureRecords, AzureStack
from llmops_kit.infra.targets.azure.resources.storage import declare_account, expire_appended

_CHANGES = ("KeyCreate", "KeyDelete", "KeyImport", "KeyPurge", "KeyRestore", "KeyUpdate", "VaultDelete", "VaultPatch")
"""Operations that change keys or who may use them: https://learn.microsoft.com/azure/key-vault/general/logging"""
_USE = ("KeySign",)


def declare_archive(stack: AzureStack, identity: AzureIdentity | None) -> pulumi.Output[str]:
    """Declare the account of the logs' copy; returns its resource id.

    Its policy lets Azure Monitor append to a blob for as long as nobody may change or delete it. Azure creates a policy
    unlocked alone; an owner may lock it, which can't be taken back. A refresh then tells the engine, and the program
    leaves the state as the engine knows it.

    https://learn.microsoft.com/azure/storage/blobs/immutable-policy-configure-version-scope
    """
    days = stack.azure.log_retention_days
    policy = storage.AccountImmutabilityPolicyPropertiesArgs(
        immutability_period_since_creation_in_days=days,
        state=storage.AccountImmutabilityPolicyState.UNLOCKED,
        allow_protected_append_writes=True,
    )
    account = declare_account(
        stack,
        "audit",
        f"Standard_{stack.azure.redundancy}",
        identity,
        immutable_storage_with_versioning=storage.ImmutableStorageAccountArgs(enabled=True, immutability_policy=policy),
        ignore_changes=["immutableStorageWithVersioning.immutabilityPolicy.state"],
    )
    expire_appended(stack, "audit", account, days)
    return account.id


def declare_key_alerts(stack: AzureStack, records: AzureRecords, action_group: pulumi.Input[str]) -> None:
    """Declare alerts on each use of the vault's keys to sign, and on each change of its keys or access.

    Args:
        stack: that is declared.
        records: where the vault's audit log is.
        action_group: is notified.
    """
    vault = stack.inventory.id_of("vault")
    for what, operations, words in (
        ("signed", _USE, "the signing key was used"),
        ("keys", _CHANGES, "keys, or who may use them, were changed"),
    ):
        condition = monitor.ConditionArgs(
            query=_query(vault, operations), time_aggregation="Count", operator="GreaterThan", threshold=0
        )
        declare_log_alert(
            stack,
            stack.inventory.audit_alert(what),
            condition,
            records,
            action_group,
            description=f"vault {vault.rpartition('/')[2]}: {words}",
            severity=2,
            auto_mitigate=False,  # each use is told, not only the first of a series
        )


def _query(vault: str, operations: tuple[str, ...]) -> str:
    """Returns the query for a vault's operations, also those that were refused.

    https://learn.microsoft.com/azure/azure-monitor/reference/tables/azurediagnostics
    """
    named = ", ".join(f"'{each}'" for each in operations)
    return f"""AzureDiagnostics
| where ResourceProvider == 'MICROSOFT.KEYVAULT' and ResourceId =~ '{vault}'
| where OperationName in ({named})"""
