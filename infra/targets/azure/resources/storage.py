"""Where data is: one account with the container of versions, which outlives the stack, and the container of runs, and
one for what is written often and soon of no use.

In the first nothing is lost: versioning and soft delete keep, and bill, each blob that is replaced or deleted for 30
days. A checkpoint is replaced every few steps, and nobody wants an old one back. Both are switched on for an account as
a whole (https://learn.microsoft.com/azure/storage/blobs/versioning-overview#pricing-and-billing), so checkpoints have
another one. It is also the workspace's default account: what jobs and Azure ML itself may do there ends short of what
is signed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import storage

from clouds.azure.settings import AzureSettings
from infra import names
from infra.targets.azure.here import Here, Identity, Scratch, Storage
from infra.targets.azure.patience import patient
from infra.targets.azure.session import Place, credential, explained, find, look_up

CONTAINERS = ("store", "work")
KIND = "Microsoft.Storage/storageAccounts"
_API = "2024-01-01"
_ACCOUNT = "azure-native:storage:StorageAccount"
CHECKPOINTS = "checkpoints"
_SOFT_DELETE_DAYS = 30
_WORK_FOLDERS = ("runs", "captures")


@dataclass(frozen=True)
class _Account:
    id: pulumi.Input[str]
    plain_id: str
    name: pulumi.Input[str]
    group: pulumi.Input[str]
    blob_url: pulumi.Output[str]
    ready: list[pulumi.Resource]


def provide_storage(here: Here, identity: Identity | None) -> Storage:
    """Declare the account and both containers, but for what is given.

    Args:
        here: the stack's place.
        identity: reads the key that encrypts the account, when one is given.
    """
    given = here.settings.azure
    account = _given_account(here) if given.storage_account else _own_account(here, identity)
    containers = {word: container_name(here.names, given, word) for word in CONTAINERS}
    missing = [word for word in CONTAINERS if not getattr(given, f"{word}_container")]
    made = [_container(here, word, containers[word], account) for word in missing]
    return Storage(
        id=account.id,
        account=account.name,
        blob_url=account.blob_url.apply(lambda url: url.rstrip("/")),
        store=containers["store"],
        work=containers["work"],
        ready=[*account.ready, *made],
        plain_id=account.plain_id,
    )


def provide_scratch(here: Here, identity: Identity | None, data: Storage) -> Scratch:
    """Declare the account of checkpoints and of the workspace's own containers. Where the account of the data is given,
    it is that one: its owner decides what it keeps of what is deleted.

    Args:
        here: the stack's place.
        identity: reads the key that encrypts the account, when one is given.
        data: where versions and runs are.
    """
    if here.settings.azure.storage_account:
        return Scratch(data.id, data.account, data.work, data.ready, data.plain_id, own=False)
    id_ = here.id(KIND, here.names.compact("scratch", 24, here.caller.subscription))
    made = _account(here, "scratch", id_, "Standard_LRS", identity)
    expiring = _lifecycle(here, "scratch-lifecycle", id_, made.name, [_expiring(here, [f"{CHECKPOINTS}/"])], [made])
    account = _Account(made.id, id_, made.name, here.group, _url(made), [made, expiring])
    container = _container(here, CHECKPOINTS, CHECKPOINTS, account)
    return Scratch(made.id, made.name, CHECKPOINTS, [*account.ready, container], id_, own=True)


def account_of(here: Here) -> str:
    """The account's resource id."""
    given = here.settings.azure.storage_account
    return given or here.id(KIND, account_name(here.names, here.caller.subscription))


def account_name(own: names.CloudNames, subscription: str) -> str:
    """The account's name, which no other in the world may have."""
    return own.compact("data", 24, subscription)


def container_name(own: names.CloudNames, given: AzureSettings, word: str) -> str:
    """A container's name: plain in an account of the stack's own, the stack's in one that it shares."""
    return getattr(given, f"{word}_container") or (own.of(word) if given.storage_account else word)


def read_object(place: Place, account_id: str, container: str, key: str) -> bytes | None:
    """Content of a blob; None when it, its container or its account is not there (yet)."""
    from azure.core.exceptions import ResourceNotFoundError
    from azure.storage.blob import BlobClient

    account = find(place, account_id, _API)
    if account is None:
        return None
    url = account["properties"]["primaryEndpoints"]["blob"]
    with explained(f"{url}{container}/{key}"):
        try:
            return BlobClient(url, container, key, credential=credential()).download_blob().readall()
        except ResourceNotFoundError:
            return None


def _given_account(here: Here) -> _Account:
    id_ = here.settings.azure.storage_account
    found = look_up(here.place, id_, _API, "storage_account")
    url = pulumi.Output.from_input(str(found["properties"]["primaryEndpoints"]["blob"]))
    return _Account(id_, id_, id_.rpartition("/")[2], id_.split("/")[4], url, [])


def _own_account(here: Here, identity: Identity | None) -> _Account:
    id_ = account_of(here)
    made = _account(here, "storage", id_, f"Standard_{here.settings.azure.redundancy}", identity)
    ready = [made, *_services(here, id_, made.name)]
    return _Account(made.id, id_, made.name, here.group, _url(made), ready)


def _url(account: storage.StorageAccount) -> pulumi.Output[str]:
    return account.primary_endpoints.apply(lambda endpoints: endpoints.blob)


def _account(here: Here, word: str, id_: str, sku: str, identity: Identity | None) -> storage.StorageAccount:
    private = here.settings.azure.network.mode == "existing"
    logical = names.kept(word)
    return storage.StorageAccount(
        logical,
        account_name=id_.rpartition("/")[2],
        resource_group_name=here.group,
        location=here.location,
        kind=storage.Kind.STORAGE_V2,
        sku=storage.SkuArgs(name=sku),
        access_tier=storage.AccessTier.HOT,
        allow_blob_public_access=False,
        allow_cross_tenant_replication=False,
        allow_shared_key_access=False,  # tokens of Microsoft Entra ID alone
        default_to_o_auth_authentication=True,
        enable_https_traffic_only=True,
        is_local_user_enabled=False,
        minimum_tls_version=storage.MinimumTlsVersion.TLS1_2,
        public_network_access="Disabled" if private else "Enabled",
        network_rule_set=storage.NetworkRuleSetArgs(
            default_action=storage.DefaultAction.DENY if private else storage.DefaultAction.ALLOW,
            bypass="AzureServices",
        ),
        encryption=_encryption(here, identity),
        identity=storage.IdentityArgs(type="UserAssigned", user_assigned_identities=[identity.id])
        if identity
        else None,
        tags=here.all_tags,
        opts=here.adopted(
            _ACCOUNT,
            logical,
            id_,
            _API,
            protect=True,
            depends_on=identity.ready if identity else [],
            hooks=patient(here, _ACCOUNT, logical, identity) if identity else None,
        ),
    )


def _encryption(here: Here, identity: Identity | None) -> storage.EncryptionArgs:
    service = storage.EncryptionServiceArgs(enabled=True, key_type="Account")
    services = storage.EncryptionServicesArgs(blob=service, file=service)
    if identity is None:
        return storage.EncryptionArgs(
            key_source="Microsoft.Storage", require_infrastructure_encryption=True, services=services
        )
    vault, _, rest = here.settings.azure.encryption.key.partition("/keys/")
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


def _services(here: Here, account_id: str, account: pulumi.Input[str]) -> Sequence[pulumi.Resource]:
    """Versioning, soft delete, and what expires. They are kept with the account."""
    kept = storage.DeleteRetentionPolicyArgs(enabled=True, days=_SOFT_DELETE_DAYS)
    service = storage.BlobServiceProperties(
        names.kept("storage-blobs"),
        account_name=account,
        resource_group_name=here.group,
        blob_services_name="default",
        is_versioning_enabled=True,
        delete_retention_policy=kept,
        container_delete_retention_policy=kept,
        opts=here.options(protect=True),  # exists with its account: the plugin takes it as it is
    )
    container = container_name(here.names, here.settings.azure, "work")
    rules = [_leftovers(), _expiring(here, [f"{container}/{folder}/" for folder in _WORK_FOLDERS])]
    # Rules about versions need versioning.
    return [service, _lifecycle(here, "storage-lifecycle", account_id, account, rules, [service])]


def _lifecycle(
    here: Here,
    word: str,
    account_id: str,
    account: pulumi.Input[str],
    rules: Sequence[storage.ManagementPolicyRuleArgs],
    after: Sequence[pulumi.Resource],
) -> storage.ManagementPolicy:
    logical = names.kept(word)
    return storage.ManagementPolicy(
        logical,
        account_name=account,
        resource_group_name=here.group,
        management_policy_name="default",
        policy=storage.ManagementPolicySchemaArgs(rules=list(rules)),
        opts=here.adopted(
            "azure-native:storage:ManagementPolicy",
            logical,
            f"{account_id}/managementPolicies/default",
            _API,
            protect=True,
            depends_on=list(after),
        ),
    )


def _leftovers() -> storage.ManagementPolicyRuleArgs:
    """What was replaced or deleted is kept for a while; what is current, for ever."""
    after = storage.DateAfterCreationArgs(days_after_creation_greater_than=_SOFT_DELETE_DAYS)
    return _rule(
        "leftovers",
        storage.ManagementPolicyActionArgs(
            version=storage.ManagementPolicyVersionArgs(delete=after),
        ),
        [],
    )


def _expiring(here: Here, prefixes: list[str]) -> storage.ManagementPolicyRuleArgs:
    days = storage.DateAfterModificationArgs(days_after_modification_greater_than=here.settings.azure.runs_days)
    return _rule(
        "runs",
        storage.ManagementPolicyActionArgs(base_blob=storage.ManagementPolicyBaseBlobArgs(delete=days)),
        prefixes,
    )


def _rule(
    name: str, actions: storage.ManagementPolicyActionArgs, prefixes: list[str]
) -> storage.ManagementPolicyRuleArgs:
    filters = storage.ManagementPolicyFilterArgs(blob_types=["blockBlob"], prefix_match=prefixes or None)
    return storage.ManagementPolicyRuleArgs(
        name=name,
        enabled=True,
        type=storage.RuleType.LIFECYCLE,
        definition=storage.ManagementPolicyDefinitionArgs(actions=actions, filters=filters),
    )


def _container(here: Here, word: str, name: str, account: _Account) -> storage.BlobContainer:
    logical = names.STORE if word == "store" else word
    id_ = f"{account.plain_id}/blobServices/default/containers/{name}"
    return storage.BlobContainer(
        logical,
        container_name=name,
        account_name=account.name,
        resource_group_name=account.group,
        public_access=storage.PublicAccess.NONE,
        opts=here.adopted(
            "azure-native:storage:BlobContainer",
            logical,
            id_,
            _API,
            protect=True if word == "store" else None,
            depends_on=account.ready,
        ),
    )
