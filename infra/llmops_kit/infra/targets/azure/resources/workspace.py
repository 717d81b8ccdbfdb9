"""The Azure Machine Learning workspace, and the datastores by which jobs and endpoints reach the stack's containers.

It outlives the stack: a deleted workspace reserves its name for two weeks, and its history of runs is lost.
https://learn.microsoft.com/azure/machine-learning/concept-workspace
"""

from typing import Any

import pulumi
from pulumi_azure_native import machinelearningservices as ml

from llmops_kit.infra.targets.azure.inventory import CHECKPOINTS, CONTAINERS
from llmops_kit.infra.targets.azure.resources.context import (
    AzureIdentity,
    AzureRecords,
    AzureRegistry,
    AzureScratch,
    AzureStack,
    AzureStorage,
    AzureVault,
    AzureWorkspace,
)

_ISOLATION = {
    "approved": ml.IsolationMode.ALLOW_ONLY_APPROVED_OUTBOUND,
    "internet": ml.IsolationMode.ALLOW_INTERNET_OUTBOUND,
}


def declare_workspace(
    stack: AzureStack,
    *,
    storage: AzureStorage,
    scratch: AzureScratch,
    vault: AzureVault,
    registry: AzureRegistry,
    records: AzureRecords,
    identity: AzureIdentity | None,
) -> AzureWorkspace:
    """Declare the workspace, unless an existing one is given, and its datastores. In a shared workspace, the names of
    datastores contain the stack's name.

    Args:
        stack: that is declared.
        storage: of versions and runs.
        scratch: of checkpoints; the workspace's default storage.
        vault: for its secrets.
        registry: for its images.
        records: Application Insights for its metrics.
        identity: of the workspace; None if an existing workspace is given.
    """
    if identity is None:
        id_ = stack.azure.workspace
        name, group = id_.rpartition("/")[2], id_.split("/")[4]
        stores = _datastores(stack, name, group, storage, scratch, [])
        ready: list[pulumi.Resource] = list(stores.values())
    else:
        made = _workspace(stack, scratch, vault, registry, records, identity)
        id_, name, group = made.id, made.name, stack.group
        stores = _datastores(stack, name, group, storage, scratch, [made])
        reached = _reached(stack, made, storage, identity) if scratch.own else []
        ready = [made, *stores.values(), *reached]
    return AzureWorkspace(id_, name, group, {word: store.name for word, store in stores.items()}, ready)


def _workspace(
    stack: AzureStack,
    scratch: AzureScratch,
    vault: AzureVault,
    registry: AzureRegistry,
    records: AzureRecords,
    identity: AzureIdentity,
) -> ml.Workspace:
    entry = stack.inventory.workspace
    return ml.Workspace(
        entry.logical,
        workspace_name=entry.name,
        kind="Default",
        sku=ml.SkuArgs(name="Basic", tier=ml.SkuTier.BASIC),
        identity=ml.ManagedServiceIdentityArgs(
            type=ml.ManagedServiceIdentityType.USER_ASSIGNED, user_assigned_identities=[identity.id]
        ),
        primary_user_assigned_identity=identity.id,
        storage_account=scratch.id,
        key_vault=vault.id,
        container_registry=registry.id,
        application_insights=records.metrics,
        system_datastores_auth_mode="Identity",
        v1_legacy_mode=False,
        **_network(stack),
        encryption=_encryption(stack, identity),
        **stack.placed,
        opts=stack.options(
            entry,
            protect=True,
            depends_on=[*identity.ready, *scratch.ready, *vault.ready, *registry.ready],
            hooks=stack.retries(entry, identity),
        ),
    )


def _reached(
    stack: AzureStack, made: ml.Workspace, storage: AzureStorage, identity: AzureIdentity
) -> list[pulumi.Resource]:
    """Declares the outbound rule from the managed network to the account of the data: Azure itself creates one only
    to the workspace's default account. https://learn.microsoft.com/azure/machine-learning/how-to-managed-network
    """
    if not stack.inventory.isolated:
        return []
    entry = stack.inventory.outbound_rule
    rule = ml.ManagedNetworkSettingsRule(
        entry.logical,
        rule_name=entry.name,
        workspace_name=made.name,
        resource_group_name=stack.group,
        properties=ml.PrivateEndpointOutboundRuleArgs(
            type="PrivateEndpoint",
            category=ml.RuleCategory.USER_DEFINED,
            destination=ml.PrivateEndpointDestinationArgs(
                service_resource_id=storage.id, subresource_target="blob", spark_enabled=False
            ),
        ),
        opts=stack.options(entry, depends_on=[made, *storage.ready], hooks=stack.retries(entry, identity)),
    )
    return [rule]


def _network(stack: AzureStack) -> dict[str, Any]:
    """Returns the workspace's network settings:
    https://learn.microsoft.com/azure/machine-learning/how-to-managed-network
    """
    found: dict[str, Any] = {"public_network_access": "Disabled" if stack.inventory.private else "Enabled"}
    if stack.inventory.isolated:
        isolation = _ISOLATION[stack.azure.network.outbound]
        found["managed_network"] = ml.ManagedNetworkSettingsArgs(isolation_mode=isolation)
        found["provision_network_now"] = True  # a deployment would fail before it exists
    return found


def _encryption(stack: AzureStack, identity: AzureIdentity) -> ml.EncryptionPropertyArgs | None:
    given = stack.azure.encryption
    if not given.key:
        return None
    return ml.EncryptionPropertyArgs(
        status=ml.EncryptionStatus.ENABLED,
        identity=ml.IdentityForCmkArgs(user_assigned_identity=identity.id),
        key_vault_properties=ml.KeyVaultPropertiesArgs(
            key_identifier=given.key, key_vault_arm_id=given.vault, identity_client_id=identity.client_id
        ),
    )


def _datastores(
    stack: AzureStack,
    workspace: pulumi.Input[str],
    group: pulumi.Input[str],
    storage: AzureStorage,
    scratch: AzureScratch,
    after: list[pulumi.Resource],
) -> dict[str, ml.Datastore]:
    """Declares the datastores by key. Checkpoints are among the runs if they have no separate account."""
    containers = {word: (storage.account, getattr(storage, word), storage.ready) for word in CONTAINERS}
    if scratch.own:
        containers[CHECKPOINTS] = (scratch.account, scratch.container, scratch.ready)
    made = {}
    for word, (account, container, ready) in containers.items():
        entry = stack.inventory.datastore(word)
        made[word] = ml.Datastore(
            entry.logical,
            name=entry.name,
            skip_validation=True,  # as azure-ai-ml does: whoever deploys needs no role on the data for it
            workspace_name=workspace,
            resource_group_name=group,
            properties=_container(stack, account, container),
            opts=stack.options(entry, depends_on=[*ready, *after]),
        )
    return {CHECKPOINTS: made["work"]} | made


def _container(stack: AzureStack, account: pulumi.Input[str], container: str) -> ml.AzureBlobDatastoreArgs:
    """Returns a datastore of a container without a credential, so that each user needs a role."""
    return ml.AzureBlobDatastoreArgs(
        datastore_type="AzureBlob",
        account_name=account,
        container_name=container,
        credentials=ml.NoneDatastoreCredentialsArgs(credentials_type="None"),
        service_data_access_auth_identity="None",
        tags=stack.inventory.all_tags,
    )
