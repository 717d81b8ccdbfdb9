"""The Azure Machine Learning workspace, and the datastores by which jobs and endpoints reach the stack's containers.

It is kept with the data: a deleted workspace blocks its name for a fortnight, and takes its history of runs along.
https://learn.microsoft.com/azure/machine-learning/concept-workspace
"""

from typing import Any

import pulumi
from pulumi_azure_native import machinelearningservices as ml

from infra import names
from infra.targets.azure.here import WORKSPACE_API, Here, Identity, Registry, Scratch, Storage, Vault, Workspace
from infra.targets.azure.patience import patient
from infra.targets.azure.session import look_up
from infra.targets.azure.storage import CHECKPOINTS, CONTAINERS

KIND = "Microsoft.MachineLearningServices/workspaces"
_WORKSPACE = "azure-native:machinelearningservices:Workspace"
_DATASTORE = "azure-native:machinelearningservices:Datastore"
_ISOLATION = {
    "approved": ml.IsolationMode.ALLOW_ONLY_APPROVED_OUTBOUND,
    "internet": ml.IsolationMode.ALLOW_INTERNET_OUTBOUND,
}


def provide_workspace(
    here: Here,
    *,
    storage: Storage,
    scratch: Scratch,
    vault: Vault,
    registry: Registry,
    metrics: pulumi.Input[str],
    identity: Identity | None,
) -> Workspace:
    """Declare the workspace, unless one is given, and its datastores.

    Args:
        here: the stack's place.
        storage: of versions and runs.
        scratch: of checkpoints, and the workspace's own default.
        vault: where it keeps its secrets.
        registry: of its images.
        metrics: resource id of the Application Insights component.
        identity: as whom it works; None where the workspace is given.
    """
    if identity is None:
        return _given(here, storage, scratch)
    id_ = workspace_id(here)
    made = _workspace(here, id_, scratch, vault, registry, metrics, identity)
    stores = _datastores(here, made.name, here.group, id_, storage, scratch, [made])
    reached = _reached(here, made, id_, storage, identity) if scratch.own else []
    return Workspace(
        id=made.id,
        name=made.name,
        group=here.group,
        plain_id=id_,
        datastores={word: store.name for word, store in stores.items()},
        managed_network=here.settings.azure.network.mode != "none",
        account_id=scratch.plain_id,
        ready=[made, *stores.values(), *reached],
    )


def workspace_name(own: names.CloudNames) -> str:
    """What the workspace is called, unless one is given."""
    return own.of("workspace", 33)


def workspace_id(here: Here) -> str:
    """The workspace's resource id."""
    return here.settings.azure.workspace or here.id(KIND, workspace_name(here.names))


def _workspace(
    here: Here,
    id_: str,
    scratch: Scratch,
    vault: Vault,
    registry: Registry,
    metrics: pulumi.Input[str],
    identity: Identity,
) -> ml.Workspace:
    logical = names.kept("workspace")
    return ml.Workspace(
        logical,
        workspace_name=id_.rpartition("/")[2],
        resource_group_name=here.group,
        location=here.location,
        kind="Default",
        sku=ml.SkuArgs(name="Basic", tier=ml.SkuTier.BASIC),
        identity=ml.ManagedServiceIdentityArgs(
            type=ml.ManagedServiceIdentityType.USER_ASSIGNED, user_assigned_identities=[identity.id]
        ),
        primary_user_assigned_identity=identity.id,
        storage_account=scratch.id,
        key_vault=vault.id,
        container_registry=registry.id,
        application_insights=metrics,
        system_datastores_auth_mode="Identity",
        v1_legacy_mode=False,
        **_network(here),
        encryption=_encryption(here, identity),
        tags=here.all_tags,
        opts=here.adopted(
            _WORKSPACE,
            logical,
            id_,
            WORKSPACE_API,
            protect=True,
            depends_on=[*identity.ready, *scratch.ready, *vault.ready, *registry.ready],
            hooks=patient(here, _WORKSPACE, logical, identity),
        ),
    )


def _given(here: Here, storage: Storage, scratch: Scratch) -> Workspace:
    """In a workspace that others use too, the stack's datastores have names of its own."""
    id_ = here.settings.azure.workspace
    found = look_up(here.place, id_, WORKSPACE_API, "workspace")["properties"]
    name, group = id_.rpartition("/")[2], id_.split("/")[4]
    stores = _datastores(here, name, group, id_, storage, scratch, [])
    return Workspace(
        id=id_,
        name=name,
        group=group,
        plain_id=id_,
        datastores={word: store.name for word, store in stores.items()},
        managed_network=found.get("managedNetwork", {}).get("isolationMode", "Disabled") != "Disabled",
        account_id=found.get("storageAccount") or "",
        ready=list(stores.values()),
    )


def _reached(here: Here, made: ml.Workspace, id_: str, storage: Storage, identity: Identity) -> list[pulumi.Resource]:
    """The way from the managed network to the account of the data: Azure makes none but to the workspace's default
    account by itself. https://learn.microsoft.com/azure/machine-learning/how-to-managed-network
    """
    if here.settings.azure.network.mode == "none":
        return []
    logical, kind, name = "outbound-data", "azure-native:machinelearningservices:ManagedNetworkSettingsRule", "data"
    rule = ml.ManagedNetworkSettingsRule(
        logical,
        rule_name=name,
        workspace_name=made.name,
        resource_group_name=here.group,
        properties=ml.PrivateEndpointOutboundRuleArgs(
            type="PrivateEndpoint",
            category=ml.RuleCategory.USER_DEFINED,
            destination=ml.PrivateEndpointDestinationArgs(
                service_resource_id=storage.id, subresource_target="blob", spark_enabled=False
            ),
        ),
        opts=here.adopted(
            kind,
            logical,
            f"{id_}/outboundRules/{name}",
            WORKSPACE_API,
            depends_on=[made, *storage.ready],
            hooks=patient(here, kind, logical, identity),
        ),
    )
    return [rule]


def _network(here: Here) -> dict[str, Any]:
    """https://learn.microsoft.com/azure/machine-learning/how-to-managed-network"""
    wanted = here.settings.azure.network
    found: dict[str, Any] = {"public_network_access": "Disabled" if wanted.mode == "existing" else "Enabled"}
    if wanted.mode != "none":
        found["managed_network"] = ml.ManagedNetworkSettingsArgs(isolation_mode=_ISOLATION[wanted.outbound])
        found["provision_network_now"] = True  # a deployment before it is there would fail
    return found


def _encryption(here: Here, identity: Identity) -> ml.EncryptionPropertyArgs | None:
    given = here.settings.azure.encryption
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
    here: Here,
    workspace: pulumi.Input[str],
    group: pulumi.Input[str],
    workspace_id_: str,
    storage: Storage,
    scratch: Scratch,
    after: list[pulumi.Resource],
) -> dict[str, ml.Datastore]:
    """By word. Checkpoints are among the runs where they have no account of their own."""
    places = {word: (storage.account, getattr(storage, word), storage.ready) for word in CONTAINERS}
    if scratch.own:
        places[CHECKPOINTS] = (scratch.account, scratch.container, scratch.ready)
    given = bool(here.settings.azure.workspace)
    made = {}
    for word, (account, container, ready) in places.items():
        name = here.names.compact(word, 50) if given else word
        id_, logical = f"{workspace_id_}/datastores/{name}", f"datastore-{word}"
        made[word] = ml.Datastore(
            logical,
            name=name,
            skip_validation=True,  # as azure-ai-ml does: whoever deploys needs no role on the data for it
            workspace_name=workspace,
            resource_group_name=group,
            properties=_container(here, account, container),
            opts=here.adopted(_DATASTORE, logical, id_, WORKSPACE_API, depends_on=[*ready, *after]),
        )
    return {CHECKPOINTS: made["work"]} | made


def _container(here: Here, account: pulumi.Input[str], container: str) -> ml.AzureBlobDatastoreArgs:
    """A container by its name in the workspace, without a credential: whoever uses it needs a role of his own."""
    return ml.AzureBlobDatastoreArgs(
        datastore_type="AzureBlob",
        account_name=account,
        container_name=container,
        credentials=ml.NoneDatastoreCredentialsArgs(credentials_type="None"),
        service_data_access_auth_identity="None",
        tags=here.all_tags,
    )
