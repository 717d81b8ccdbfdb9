"""Checks of each rule on Azure: by resource type, and for the whole stack."""

from collections.abc import Iterator

from llmops_kit.policies.model import (
    Checks,
    Finding,
    Resource,
    Stack,
    each_has,
    must_be,
    must_be_protected,
    must_be_set,
)

GROUP = "azure-native:resources:ResourceGroup"
STORAGE = "azure-native:storage:StorageAccount"
CONTAINER = "azure-native:storage:BlobContainer"
BLOBS = "azure-native:storage:BlobServiceProperties"
LIFECYCLE = "azure-native:storage:ManagementPolicy"
VAULT = "azure-native:keyvault:Vault"
SIGNING_KEY = "llmops:SigningKey"
REGISTRY = "azure-native:containerregistry:Registry"
WORKSPACE = "azure-native:machinelearningservices:Workspace"
DATASTORE = "azure-native:machinelearningservices:Datastore"
COMPUTE = "azure-native:machinelearningservices:Compute"
ENDPOINT = "azure-native:machinelearningservices:OnlineEndpoint"
ASSIGNMENT = "azure-native:authorization:RoleAssignment"
LOGS = "azure-native:operationalinsights:Workspace"

BROAD_ROLES = {
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": "Owner",
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9": "User Access Administrator",
    "f58310d9-a9f6-439a-9e8d-f62e7b41a168": "Role Based Access Control Administrator",
    "00482a5a-887f-4fb3-b363-3b7fe8e74483": "Key Vault Administrator",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
}
"""https://learn.microsoft.com/azure/role-based-access-control/built-in-roles"""
_TLS = ("TLS1_2", "TLS1_3")
_APPROVED = "AllowOnlyApprovedOutbound"
_MANAGED = "`llmops:azure: {network: {mode: managed}}` isolates them"

_no_public_blobs = must_be(
    "allowBlobPublicAccess", False, what="allows public containers", fix="set allow_blob_public_access=False"
)
_private_container = must_be(
    "publicAccess", None, "None", what="can be read without credentials", fix="set public_access to None"
)
_no_anonymous_pull = must_be(
    "anonymousPullEnabled", None, False, what="lets anybody pull images", fix="set anonymous_pull_enabled=False"
)
_https_alone = must_be(
    "enableHttpsTrafficOnly", True, what="answers plain HTTP", fix="set enable_https_traffic_only=True"
)
_new_tls = must_be(
    "minimumTlsVersion", *_TLS, what="accepts old versions of TLS", fix="set minimum_tls_version to TLS1_2"
)
_encrypted_twice = must_be(
    "encryption.requireInfrastructureEncryption",
    True,
    what="is encrypted only once",
    fix="set require_infrastructure_encryption=True",
)
_no_shared_key = must_be(
    "allowSharedKeyAccess",
    False,
    what="accepts the account's keys, which never expire",
    fix="set allow_shared_key_access=False",
)
_no_local_users = must_be(
    "isLocalUserEnabled", None, False, what="accepts local users' passwords", fix="set is_local_user_enabled=False"
)
_no_admin_user = must_be(
    "adminUserEnabled", None, False, what="accepts its administrator's password", fix="set admin_user_enabled=False"
)
_vault_by_roles = must_be(
    "properties.enableRbacAuthorization",
    True,
    what="uses access policies, which have no scope",
    fix="set enable_rbac_authorization=True",
)
_tokens_alone = must_be(
    "properties.authMode", "AADToken", what="accepts keys, which never expire", fix="set auth_mode to AADToken"
)
_no_credentials = must_be(
    "properties.credentials.credentialsType",
    "None",
    what="stores a credential that all users of the workspace share",
    fix="remove the credential, and give its users roles",
)
_no_sign_in = must_be(
    "properties.properties.remoteLoginPortPublicAccess",
    "Disabled",
    what="has machines that allow remote sign-in",
    fix="disable remote_login_port_public_access",
)
_no_password = must_be(
    "properties.disableLocalAuth", True, what="accepts keys and passwords", fix="set disable_local_auth=True"
)
_logs_by_roles = must_be(
    "features.disableLocalAuth", True, what="accepts the workspace's keys", fix="set disable_local_auth=True"
)
_purge_protected = must_be(
    "properties.enablePurgeProtection", True, what="can be purged with its keys", fix="set enable_purge_protection=True"
)
_soft_deleted = must_be(
    "properties.enableSoftDelete", None, True, what="does not keep deleted keys", fix="set enable_soft_delete=True"
)
_versioned = must_be(
    "isVersioningEnabled", True, what="does not keep overwritten blobs", fix="set is_versioning_enabled=True"
)
_deletes_softly = must_be(
    "deleteRetentionPolicy.enabled", True, what="does not keep deleted blobs", fix="enable delete_retention_policy"
)
_logs_expire = must_be_set("retentionInDays", "has no retention period for its logs", "set retention_in_days")
_every_account_has_lifecycle = each_has(
    STORAGE, LIFECYCLE, "accountName", "accountName", what="keeps files of runs forever", fix="add a ManagementPolicy"
)


def _every_account_versioned(stack: Stack) -> Iterator[Finding]:
    """Accounts must keep overwritten and deleted blobs, except where no container is protected.

    Checkpoints are replaced all the time in such an account, and each one would be billed for weeks.
    """
    for account in stack.of(STORAGE):
        containers = stack.parts_of(account, CONTAINER, "accountName", "accountName")
        temporary = containers and not any(each.protect for each in containers)
        if not temporary and not stack.parts_of(account, BLOBS, "accountName", "accountName"):
            fix = "add BlobServiceProperties with versioning and soft delete"
            yield Finding(account, "does not keep overwritten or deleted blobs", fix)


def _container_protected(stack: Stack) -> Iterator[Finding]:
    """The container of versions must be protected; that of runs, which has rules that delete, need not be."""
    containers = stack.of(CONTAINER)
    if containers and not any(each.protect for each in containers):
        yield from must_be_protected(containers[0])


def _narrow_role(resource: Resource) -> Iterator[Finding]:
    """A role assignment must not include the right to assign roles, and must have one resource as its scope."""
    role = str(resource.get("roleDefinitionId")).rpartition("/")[2].lower()
    if role in BROAD_ROLES:
        yield Finding(resource, f"assigns {BROAD_ROLES[role]}", "assign only the roles that the work needs")
    scope = str(resource.get("scope")).strip("/").lower()
    if "/providers/" not in scope.partition("/resourcegroups/")[2]:
        yield Finding(resource, f"is assigned on all of {scope.rpartition('/')[2]}", "assign it on the resource itself")


def _kind_named(resource: Resource) -> Iterator[Finding]:
    """A role assignment must name its principal's type, which conditions on role assignments compare."""
    if resource.get("principalType") not in ("User", "Group", "ServicePrincipal"):
        yield Finding(resource, "does not name the type of its principal", "set principal_type")


def _work_expires(resource: Resource) -> Iterator[Finding]:
    """Files of runs must expire."""
    if not _deletes(resource, "baseBlob"):
        yield Finding(resource, "keeps files of runs forever", "add a rule that deletes them")


def _replaced_expire(stack: Stack) -> Iterator[Finding]:
    """Replaced blobs must expire, if an account keeps them."""
    for lifecycle in stack.of(LIFECYCLE):
        versioned = stack.parts_of(lifecycle, BLOBS, "accountName", "accountName")
        if versioned and not _deletes(lifecycle, "version"):
            yield Finding(lifecycle, "keeps replaced blobs forever", "add a rule that deletes versions")


def _deletes(lifecycle: Resource, kind: str) -> bool:
    rules = [each for each in lifecycle.get("policy.rules", []) if each.get("enabled") is not False]
    actions = [(each.get("definition") or {}).get("actions") or {} for each in rules]
    return any((each.get(kind) or {}).get("delete") for each in actions)


def _approved_outbound(resource: Resource) -> Iterator[Finding]:
    """Outbound traffic of jobs and endpoints must be approved; without a managed network, this is only advice."""
    mode = resource.get("managedNetwork.isolationMode", "Disabled")
    if mode == "Disabled":
        yield Finding(resource, "lets endpoints and jobs reach the Internet", _MANAGED, advisory=True)
    elif mode != _APPROVED:
        yield Finding(resource, "lets endpoints and jobs reach the Internet", "remove `outbound: internet`")


def _all_private_alike(stack: Stack) -> Iterator[Finding]:
    """If the workspace is reached by private endpoints only, so must be its endpoints and its data."""
    if not any(each.get("publicNetworkAccess") == "Disabled" for each in stack.of(WORKSPACE)):
        return
    places = ((ENDPOINT, "properties."), (STORAGE, ""), (VAULT, "properties."), (REGISTRY, ""))
    for type_, prefix in places:
        for each in stack.of(type_):
            if each.get(f"{prefix}publicNetworkAccess") != "Disabled":
                yield Finding(each, "is reachable from the Internet", "set public_network_access to Disabled")


def _machines_hidden(stack: Stack) -> Iterator[Finding]:
    """If the workspace has a managed network, machines of runs must have no public address."""
    isolated = any(each.get("managedNetwork.isolationMode", "Disabled") != "Disabled" for each in stack.of(WORKSPACE))
    for each in stack.of(COMPUTE):
        if isolated and each.get("properties.properties.enableNodePublicIp") is not False:
            yield Finding(each, "has machines with public addresses", "set enable_node_public_ip=False")


CHECKS = {
    "no-public-store": Checks(
        {STORAGE: (_no_public_blobs,), CONTAINER: (_private_container,), REGISTRY: (_no_anonymous_pull,)}
    ),
    "tls-only": Checks({STORAGE: (_https_alone, _new_tls)}),
    "encrypted": Checks({STORAGE: (_encrypted_twice,)}),
    "no-shared-secret": Checks(
        {
            STORAGE: (_no_shared_key, _no_local_users),
            REGISTRY: (_no_admin_user,),
            VAULT: (_vault_by_roles,),
            ENDPOINT: (_tokens_alone,),
            DATASTORE: (_no_credentials,),
            COMPUTE: (_no_password,),
            LOGS: (_logs_by_roles,),
        }
    ),
    "least-privilege": Checks({ASSIGNMENT: (_narrow_role, _kind_named)}),
    "endpoint-isolated": Checks(
        {WORKSPACE: (_approved_outbound,), COMPUTE: (_no_sign_in,)}, (_all_private_alike, _machines_hidden)
    ),
    "data-protected": Checks(
        {
            **dict.fromkeys((GROUP, STORAGE, REGISTRY, WORKSPACE, SIGNING_KEY), (must_be_protected,)),
            VAULT: (must_be_protected, _purge_protected, _soft_deleted),
            BLOBS: (_versioned, _deletes_softly),
        },
        (_every_account_versioned, _container_protected),
    ),
    "retention-set": Checks(
        {LOGS: (_logs_expire,), LIFECYCLE: (_work_expires,)}, (_every_account_has_lifecycle, _replaced_expire)
    ),
}
