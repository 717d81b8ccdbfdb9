"""The place of states and the key of secrets, step by step. Each step looks first, and changes only what differs."""

import os
import time
from collections.abc import Callable
from typing import Any

from azure.core.exceptions import HttpResponseError

from contract.errors import KitError
from llmops.platforms.azure.bootstrap.bootstrap import (
    CONTAINER,
    GROUP_API,
    KEY,
    STORAGE_API,
    TAGS,
    VAULT_API,
    Work,
)
from llmops.platforms.azure.bootstrap.roles import assign

PROVIDERS = (
    "Microsoft.Cdn",
    "Microsoft.Compute",
    "Microsoft.ContainerRegistry",
    "Microsoft.Insights",
    "Microsoft.KeyVault",
    "Microsoft.MachineLearningServices",
    "Microsoft.ManagedIdentity",
    "Microsoft.Network",
    "Microsoft.OperationalInsights",
    "Microsoft.PolicyInsights",
    "Microsoft.Storage",
)
"""What a stack's resources are of, and what managed online endpoints and clusters stand on: without Microsoft.Cdn and
Microsoft.PolicyInsights the first endpoint fails, with an error that names neither
(https://learn.microsoft.com/answers/questions/2129910). A new subscription knows none of them.
"""
_PROVIDER_API = "2021-04-01"
_DELETED_DAYS = 90
_OLD_DAYS = 365
_ROLE_SECONDS = 900
_LOOK_SECONDS = 1.0
_WANTED = {
    "allowBlobPublicAccess": False,
    "allowCrossTenantReplication": False,
    "allowSharedKeyAccess": False,
    "supportsHttpsTrafficOnly": True,
}
_WEAK_TLS = ("TLS1_0", "TLS1_1")
_OPERATIONS = ["encrypt", "decrypt"]
Document = dict[str, Any]


def providers(work: Work) -> None:
    """The resource providers, registered in the subscription."""
    arm, missing = work.clients.arm, []
    for name in PROVIDERS:
        found = arm.find(f"{work.names.scope}/providers/{name}", _PROVIDER_API) or {}
        if found.get("registrationState") not in ("Registered", "Registering"):
            missing.append(name)
    what = "resource providers of the subscription"
    if not missing:
        work.there(what)
        return
    ids = [f"{work.names.scope}/providers/{name}" for name in missing]
    work.change(
        what,
        f"{', '.join(missing)} registered",
        lambda: [arm.post(id_, "register", api_version=_PROVIDER_API) for id_ in ids],
    )


def resource_group(work: Work, location: str) -> str:
    """The group of the state; its location.

    Raises:
        KitError: it is elsewhere; or there is none, and nothing says where it should be.
    """
    arm, names = work.clients.arm, work.names
    what = f"resource group {names.group}"
    found = arm.find(names.group_id, GROUP_API)
    if found:
        there = str(found["location"])
        if location and location.lower() != there:
            raise KitError(f"the group is in {there}", where=names.group, fix=f"repeat with --location {there}")
        work.there(what)
        return there
    # $ARM_LOCATION is what Pulumi's own provider reads.
    place = location or os.environ.get("ARM_LOCATION", "")
    if not place:
        raise KitError("which location?", where="--location", fix="write --location westeurope, or another one")
    work.make(what, lambda: arm.put(names.group_id, {"location": place, "tags": TAGS}, GROUP_API))
    return place


def state_account(work: Work, location: str) -> None:
    """The storage account: no keys, no public blobs, TLS 1.2, versions, soft delete; its container."""
    arm, names = work.clients.arm, work.names
    what = f"storage account {names.account}"
    before = len(work.rows)
    found = arm.find(names.account_id, STORAGE_API)
    if found is None:
        work.make(what, lambda: arm.put(names.account_id, _account(location), STORAGE_API))
        if work.dry_run:
            work.rows[-1]["state"] += ": without keys, versioned, private, TLS 1.2"
            return
    else:
        work.there(what)
        _access(work, found["properties"])
    _versions(work)
    _lifecycle(work)
    if found is None:  # its parts are no changes of their own
        del work.rows[before + 1 :]
    container = f"{names.account_id}/blobServices/default/containers/{CONTAINER}"
    if arm.find(container, STORAGE_API):
        work.there(f"container {CONTAINER}")
    else:
        body = {"properties": {"publicAccess": "None"}}
        work.make(f"container {CONTAINER}", lambda: arm.put(container, body, STORAGE_API))


def _account(location: str) -> Document:
    properties = {
        **_WANTED,
        "accessTier": "Hot",
        "defaultToOAuthAuthentication": True,
        "isLocalUserEnabled": False,
        "minimumTlsVersion": "TLS1_2",
    }
    return {
        "location": location,
        "tags": TAGS,
        "kind": "StorageV2",
        "sku": {"name": "Standard_LRS"},
        "properties": properties,
    }


def _access(work: Work, found: Document) -> None:
    changes: Document = {name: wanted for name, wanted in _WANTED.items() if found.get(name) is not wanted}
    if found.get("minimumTlsVersion", _WEAK_TLS[0]) in _WEAK_TLS:
        changes["minimumTlsVersion"] = "TLS1_2"
    if changes:
        words = ", ".join(f"{name} {found.get(name)} -> {value}" for name, value in changes.items())
        work.change(
            f"storage account {work.names.account}: access",
            words,
            lambda: work.clients.arm.patch(work.names.account_id, {"properties": changes}, STORAGE_API),
        )


def _versions(work: Work) -> None:
    id_ = f"{work.names.account_id}/blobServices/default"
    arm = work.clients.arm
    found = (arm.find(id_, STORAGE_API) or {}).get("properties") or {}
    kept = {"enabled": True, "days": _DELETED_DAYS}
    changes: Document = {} if found.get("isVersioningEnabled") else {"isVersioningEnabled": True}
    for name in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"):
        if not (found.get(name) or {}).get("enabled"):
            changes[name] = kept
    if changes:
        work.change(
            f"storage account {work.names.account}: versions and soft delete",
            f"{', '.join(changes)} off -> on",
            lambda: arm.put(id_, {"properties": {**_settable(found), **changes}}, STORAGE_API),
        )


def _settable(found: Document) -> Document:
    """What somebody else set stays: a PUT that leaves it out would take it away."""
    return {name: value for name, value in found.items() if value is not None and name != "provisioningState"}


def _lifecycle(work: Work) -> None:
    id_ = f"{work.names.account_id}/managementPolicies/default"
    arm = work.clients.arm
    if arm.find(id_, STORAGE_API) is not None:
        return
    old = {"version": {"delete": {"daysAfterCreationGreaterThan": _OLD_DAYS}}}
    rule = {
        "name": "old-states",
        "enabled": True,
        "type": "Lifecycle",
        "definition": {"actions": old, "filters": {"blobTypes": ["blockBlob"]}},
    }
    work.make(
        f"storage account {work.names.account}: old states go after a year",
        lambda: arm.put(id_, {"properties": {"policy": {"rules": [rule]}}}, STORAGE_API),
    )


def state_key(work: Work, location: str) -> None:
    """The vault, opened by roles alone and protected from being purged, and in it the key of secrets.

    Raises:
        KitError: the key can't be used.
    """
    _vault(work, location)
    arm, id_ = work.clients.arm, f"{work.names.vault_id}/keys/{KEY}"
    what = f"key {KEY} in vault {work.names.vault}"
    found = arm.find(id_, VAULT_API)
    if found is None:
        attributes = {"enabled": True, "exportable": False}
        properties = {"kty": "RSA", "keySize": 3072, "keyOps": _OPERATIONS, "attributes": attributes}
        work.make(what, lambda: arm.put(id_, {"properties": properties, "tags": TAGS}, VAULT_API))
        return
    if found["properties"].get("attributes", {}).get("enabled") is False:
        raise KitError(
            "the key is disabled: states that it protects can't be read",
            where=f"{work.names.vault}, {KEY}",
            fix=f"`az keyvault key set-attributes --vault-name {work.names.vault} --name {KEY} --enabled true`",
        )
    work.there(what)


def _vault(work: Work, location: str) -> None:
    arm, names = work.clients.arm, work.names
    what = f"vault {names.vault}"
    found = arm.find(names.vault_id, VAULT_API)
    if found is None:
        _new_vault(work, what, location)
        return
    wanted = {"enableRbacAuthorization": True, "enablePurgeProtection": True}
    changes = {name: True for name in wanted if not found["properties"].get(name)}
    if changes:
        work.change(
            what,
            f"{', '.join(changes)} off -> on",
            lambda: arm.patch(names.vault_id, {"properties": changes}, VAULT_API),
        )
    else:
        work.there(what)


def _new_vault(work: Work, what: str, location: str) -> None:
    """A new one; or the one that was deleted, whose keys come back with it, and whose name nobody else can have."""
    arm, names = work.clients.arm, work.names
    properties: Document = {"tenantId": work.clients.caller.tenant, "sku": {"family": "A", "name": "standard"}}
    body: Document = {"location": location, "tags": TAGS, "properties": properties}
    places = f"{names.scope}/providers/Microsoft.KeyVault/locations/{location}"
    if arm.find(f"{places}/deletedVaults/{names.vault}", VAULT_API):
        properties["createMode"] = "recover"
        work.change(what, "deleted -> recovered", lambda: arm.put(names.vault_id, body, VAULT_API))
        return
    properties |= {
        "enableRbacAuthorization": True,
        "enableSoftDelete": True,
        "enablePurgeProtection": True,
        "softDeleteRetentionInDays": _DELETED_DAYS,
    }
    work.make(what, lambda: arm.put(names.vault_id, body, VAULT_API))


def caller_roles(work: Work) -> None:
    """What who bootstraps needs to deploy from here, once it works: an owner of a subscription reads no blob of it."""
    caller, names = work.clients.caller, work.names
    kind = "ServicePrincipal" if caller.application else "User"
    assign(work, "you", caller.object_id, "Storage Blob Data Contributor", names.account_id, kind)
    assign(work, "you", caller.object_id, "Key Vault Crypto User", names.vault_id, kind)
    if not work.dry_run:
        _wait_for(work, f"blobs of {names.account}", lambda: _look_at_blobs(work))
        _wait_for(work, f"keys of {names.vault}", lambda: _use_key(work))


def _look_at_blobs(work: Work) -> None:
    account = work.clients.arm.get(work.names.account_id, STORAGE_API)["properties"]["primaryEndpoints"]["blob"]
    container = work.clients.blobs(str(account).rstrip("/")).get_container_client(CONTAINER)
    next(iter(container.list_blob_names(results_per_page=1)), None)


def _use_key(work: Work) -> None:
    from azure.keyvault.keys.crypto import EncryptionAlgorithm

    key = work.clients.arm.get(f"{work.names.vault_id}/keys/{KEY}", VAULT_API)["properties"]["keyUriWithVersion"]
    work.clients.key(key).encrypt(EncryptionAlgorithm.rsa_oaep_256, b"bootstrap")


def _wait_for(work: Work, what: str, look: Callable[[], None]) -> None:
    """Until a role works that may be new.

    https://learn.microsoft.com/azure/role-based-access-control/troubleshooting#symptom---role-assignment-changes-are-not-being-detected
    """
    deadline, told = time.monotonic() + _ROLE_SECONDS, False
    while True:
        try:
            look()
            return
        except HttpResponseError as e:
            if e.status_code != 403 or time.monotonic() > deadline:
                raise
        if not told:
            work.say(f"waiting until you may use the {what}: a new role takes up to ten minutes")
            told = True
        time.sleep(_LOOK_SECONDS)
