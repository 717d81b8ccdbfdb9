"""Microsoft.Storage: accounts, each with its own host for its blobs; containers and their settings.

https://learn.microsoft.com/rest/api/storagerp/storage-accounts
"""

import base64
import copy
import re
import secrets
import uuid
from datetime import UTC, datetime
from typing import Any

from llmops_twins.azure import faults
from llmops_twins.azure.blobs import blobs
from llmops_twins.azure.blobs.blob_host import BlobApp, BlobsByPath
from llmops_twins.azure.protocol import body_checks
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, Reply
from llmops_twins.azure.protocol.ids import Id
from llmops_twins.azure.protocol.kinds import RESULT, ResourceKind
from llmops_twins.azure.services import storage_rules
from llmops_twins.azure.twin import TenantTwin

SERVICES = "Microsoft.Storage/storageAccounts/blobServices"
POLICIES = "Microsoft.Storage/storageAccounts/managementPolicies"
CREATE_SECONDS = 20.0
CHANGE_SECONDS = 2.0
"""Duration of a PATCH, or of a PUT of an existing account: both are answered when they are done
(`StorageAccounts_Update` of the specification has 200 alone), and other writes are refused meanwhile.

https://github.com/hashicorp/terraform-provider-azurerm/issues/29351
"""
_BUSY = (
    "StorageAccountOperationInProgress",
    "An operation is currently performing on this storage account that requires exclusive access.",
)
BY_PATH = "/storage/"
"""Path on the main port below which each account is reachable by name, for Pulumi's state backend, which uses one
address for all.
"""
UNJUDGED = [
    "blobs: no versions, no soft deletion and no lifecycle rules, whatever the account's settings say",
    "blobs: account keys, shared access signatures (user delegation included) and batch requests are refused",
    "blobs: firewalls and network rules block nobody",
    "blobs: files, queues, tables and hierarchical namespaces do not exist",
]
_NAME = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER_NAME = r"[a-z0-9](-?[a-z0-9]){2,62}|\$web|\$root|\$logs"
_INVALID = storage_rules.INVALID
_ACCOUNT = body_checks.Body(
    blobs.ACCOUNTS, values={"properties.networkAcls.bypass": body_checks.TEXT}, code=_INVALID
)  # any combination of its words: storage_rules checks it
_SERVICE = body_checks.Body(SERVICES, code=_INVALID)
_CONTAINER = body_checks.Body(blobs.CONTAINERS, code=_INVALID)
_POLICY = body_checks.Body(POLICIES, required=("properties.policy",), code="InvalidRequestPropertyValue")
_DEFAULTS: Document = {
    "allowBlobPublicAccess": False,
    "allowCrossTenantReplication": False,
    "encryption": {
        "keySource": "Microsoft.Storage",
        "services": {
            "blob": {"enabled": True, "keyType": "Account"},
            "file": {"enabled": True, "keyType": "Account"},
        },
    },
    "minimumTlsVersion": "TLS1_2",
    "networkAcls": {"bypass": "AzureServices", "defaultAction": "Allow", "ipRules": [], "virtualNetworkRules": []},
    "privateEndpointConnections": [],
    "supportsHttpsTrafficOnly": True,
}


def install(twin: TenantTwin) -> None:
    """Registers the kinds and actions."""
    twin.kind(
        ResourceKind(
            blobs.ACCOUNTS,
            put=_put_account,
            begun=_begun_account,
            gone=lambda twin, document: twin.end_data_plane(_plane(document["name"])),
            seconds=CREATE_SECONDS,
            delete_seconds=0.0,
            change_seconds=CHANGE_SECONDS,
            busy=_BUSY,
            accepted=("PUT",),
            polled={"PUT": RESULT},
            location=True,
        )
    )
    twin.kind(
        ResourceKind(
            SERVICES,
            put=_put_service,
            deleting=_undeletable,
            patch=False,  # the specification only has BlobServices_SetServiceProperties, a PUT
            name="default",
            provisioning=False,
            codes=(200, 200),
            singletons=("default",),
        )
    )
    twin.kind(
        ResourceKind(
            blobs.CONTAINERS,
            put=_put_container,
            gone=_gone_container,
            listed=_listed_containers,
            name=_CONTAINER_NAME,
            provisioning=False,
        )
    )
    twin.kind(ResourceKind(POLICIES, put=_put_policy, name="default", provisioning=False, patch=False))
    twin.action(blobs.ACCOUNTS, "listKeys", _list_keys)
    twin.route(BY_PATH, faults.around(twin, "storage", BlobsByPath(twin, BY_PATH)))
    twin.resumers.append(lambda: _resume(twin))
    twin.closers.append(lambda: blobs.store(twin).azurite.close())
    twin.seeds.append(lambda: blobs.store(twin).empty())
    twin.unkept.append(lambda: "blobs" if blobs.any_blob(twin) else "")
    twin.restorers.append(lambda: _forget_blobs(twin))
    twin.unjudged += UNJUDGED


def endpoint(twin: TenantTwin, name: str) -> str:
    """Returns the address of an account's blobs: https://localhost:PORT/."""
    return twin.data_plane(_plane(name), BlobApp(twin, name)) + "/"


def _plane(name: str) -> str:
    return f"storage/{name}"


def _resume(twin: TenantTwin) -> None:
    """Restores the hosts of the accounts after a restart."""
    for document in list(twin.resources.values()):
        if document["type"] == blobs.ACCOUNTS:
            document["properties"]["primaryEndpoints"] = {"blob": endpoint(twin, document["name"])}


def _put_account(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    _check_name(twin, Id.parse(call.id).name, there)
    storage_rules.check(call.body, new=there is None)
    body = _ACCOUNT.judged(call)
    properties, sku, kind = body["properties"], body["sku"]["name"], body["kind"]
    if there:
        _check_unchanged(there, kind, properties)
    now = datetime.now(UTC).isoformat()
    before = there["properties"] if there else {"creationTime": now, "keyCreationTime": {"key1": now, "key2": now}}
    tiers = [{"accessTier": tier} for tier in storage_rules.TIERS[kind][:1]]
    merged = copy.deepcopy(_DEFAULTS) | (tiers[0] if tiers else {}) | before | properties
    merged |= {"primaryLocation": body.get("location") or (there or {})["location"], "statusOfPrimary": "available"}
    document = {name: body[name] for name in ("location", "tags", "identity") if name in body}
    if there:
        document = {name: there[name] for name in ("tags", "identity") if name in there} | document
    sku_document = {"name": sku, "tier": sku.partition("_")[0]}
    slot = there[blobs.SLOT] if there else blobs.free_slot(twin)
    keys = there["_keys"] if there else [_new_key(), _new_key()]
    return {**document, "sku": sku_document, "kind": kind, "properties": merged, blobs.SLOT: slot, "_keys": keys}


def _check_name(twin: TenantTwin, name: str, there: Document | None) -> None:
    if not _NAME.fullmatch(name):
        message = f"{name} is not a valid storage account name. Storage account name must be between 3 and 24 characters in length and use numbers and lower-case letters only."  # fmt: skip # noqa: E501
        raise ArmError(400, "AccountNameInvalid", message)
    if there is None and blobs.account_named(twin, name):
        message = f"The storage account named {name} is already taken."
        raise ArmError(409, "StorageAccountAlreadyTaken", message)


def _check_unchanged(there: Document, kind: str, properties: Document) -> None:
    before = there["properties"]
    hierarchical = properties.get("isHnsEnabled")
    if hierarchical is not None and hierarchical != before.get("isHnsEnabled", False):
        message = "The property 'isHnsEnabled' was specified in the input, but it cannot be updated as it is read-only."
        raise ArmError(400, "AccountPropertyCannotBeUpdated", message)
    if kind != there["kind"] and (there["kind"], kind) not in (("Storage", "StorageV2"), ("BlobStorage", "StorageV2")):
        message = "The property 'kind' was specified in the input, but it cannot be updated as it is read-only."
        raise ArmError(400, "AccountPropertyCannotBeUpdated", message)


def _begun_account(twin: TenantTwin, document: Document) -> None:
    place = endpoint(twin, document["name"])
    document["properties"]["primaryEndpoints"] = {"blob": place}
    service = f"{document['id']}/blobServices/default"
    if twin.find(service) is None:
        sku = document["sku"]
        properties = {
            "cors": {"corsRules": []},
            "deleteRetentionPolicy": {"allowPermanentDelete": False, "enabled": False},
        }
        twin.keep({"id": service, "name": "default", "type": SERVICES, "sku": sku, "properties": properties})


def _put_service(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    given = _SERVICE.judged(call)["properties"]
    for name in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"):
        policy = given.get(name) or {}
        days = policy.get("days")
        if policy.get("enabled") and not 1 <= (days or 0) <= 365:
            message = f"Values for request parameters are invalid: {name}.days: it is a number from 1 to 365."
            raise ArmError(400, _INVALID, message)
    properties = (there["properties"] if there else {}) | given
    return {"sku": (there or {}).get("sku"), "properties": properties}


def _undeletable(twin: TenantTwin, call: ArmCall, document: Document) -> None:
    raise ArmError(405, "MethodNotAllowed", "The HTTP method DELETE is not supported at this resource.")


def _put_container(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    given = _CONTAINER.judged(call)["properties"]
    parsed = Id.parse(call.id)
    account = twin.find(call.id.partition("/blobServices/")[0])
    assert account is not None
    public = given.get("publicAccess") or "None"
    if public != "None" and not account["properties"].get("allowBlobPublicAccess"):
        message = "Public access is not permitted on this storage account."
        raise ArmError(409, "PublicAccessNotPermitted", message)
    if public != "None":
        message = f"This twin of Azure has no containers with public access: {parsed.name}."
        raise ArmError(400, _INVALID, message)
    before = there["properties"] if there else {}
    properties = {
        "defaultEncryptionScope": "$account-encryption-key",
        "denyEncryptionScopeOverride": False,
        "hasImmutabilityPolicy": False,
        "hasLegalHold": False,
        "deleted": False,
        "remainingRetentionDays": 0,
        "leaseStatus": "Unlocked",
        "leaseState": "Available",
        **before,
        **given,
        "publicAccess": "None",
        "lastModifiedTime": datetime.now(UTC).isoformat(),
    }
    return {"etag": f'"0x{uuid.uuid4().hex[:15].upper()}"', "properties": properties}


def _forget_blobs(twin: TenantTwin) -> None:
    for document in list(twin.resources.values()):
        if document["type"] == blobs.CONTAINERS:
            _gone_container(twin, document)


def _gone_container(twin: TenantTwin, document: Document) -> None:
    account = twin.find(document["id"].partition("/blobServices/")[0])
    if account is not None:
        blobs.store(twin).forget(twin, account[blobs.SLOT], document["name"])


def _listed_containers(call: ArmCall, found: list[Document]) -> list[Document]:
    """Returns the containers whose names begin with `$filter`:
    https://learn.microsoft.com/rest/api/storagerp/blob-containers/list
    """
    return [each for each in found if each["name"].startswith(call.query.get("$filter", ""))]


def _put_policy(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    rules = _POLICY.judged(call)["properties"]["policy"]["rules"]
    if not rules:
        raise ArmError(400, "InvalidRequestPropertyValue", "The value of property 'policy.rules' is required.")
    names = [rule["name"] for rule in rules]
    if not all(rule["name"] and rule["definition"]["actions"] for rule in rules):
        message = "A rule of a management policy has a name, and definition.actions says what it does."
        raise ArmError(400, "InvalidRequestPropertyValue", message)
    if len(set(names)) != len(names):
        raise ArmError(400, "DuplicateRuleName", "The names of a management policy's rules must be unique.")
    return {"properties": {"policy": {"rules": rules}, "lastModifiedTime": datetime.now(UTC).isoformat()}}


def _list_keys(twin: TenantTwin, call: ArmCall, document: Any) -> Reply:
    made = document["properties"]["keyCreationTime"]
    keys = [
        {"keyName": name, "value": value, "permissions": "FULL", "creationTime": made[name]}
        for name, value in zip(("key1", "key2"), document["_keys"], strict=True)
    ]
    return Reply(200, {"keys": keys})


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(64)).decode()
