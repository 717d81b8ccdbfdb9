"""Creates the storage of states and the key for secrets, step by step. Each step changes only what differs."""

import os
import time
from collections.abc import Iterable
from typing import Any

from llmops_kit.cli.platforms.azure.bootstrap.names import CONTAINER, KEY, TAGS, AzureBootstrapSteps
from llmops_kit.cli.platforms.azure.bootstrap.roles import assign
from llmops_kit.clouds.azure.objects import AzureContainer
from llmops_kit.clouds.azure.roles import until_allowed
from llmops_kit.core.errors import KitError

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
"""Resource providers of a stack's resources, and of managed online endpoints and clusters: without Microsoft.Cdn and
Microsoft.PolicyInsights the first endpoint fails, with an error that names neither
(https://learn.microsoft.com/answers/questions/2129910). A new subscription has none of them.
"""
_REGISTERING = "Registering"
_REGISTER_SECONDS = 15 * 60
_POLL_SECONDS = 2.0
_DELETED_DAYS = 90
_OLD_DAYS = 365
_WANTED = {
    "allowBlobPublicAccess": False,
    "allowCrossTenantReplication": False,
    "allowSharedKeyAccess": False,
    "supportsHttpsTrafficOnly": True,
}
_WEAK_TLS = ("TLS1_0", "TLS1_1")
_OPERATIONS = ["encrypt", "decrypt"]
Document = dict[str, Any]


def providers(work: AzureBootstrapSteps) -> None:
    """Registers the resource providers in the subscription, and waits until they are registered everywhere. Azure
    would create resources where a provider is done already, but names no locations:
    https://learn.microsoft.com/azure/azure-resource-manager/management/resource-providers-and-types#register-resource-provider

    Raises:
        KitError: one is not registered in time.
    """
    arm, pending = work.session.arm, _unregistered(work, PROVIDERS)
    missing = [name for name, state in pending.items() if state != _REGISTERING]
    what = "resource providers of the subscription"
    if not pending:
        work.there(what)
        return

    def register() -> None:
        for name in missing:
            arm.post(f"{work.names.scope}/providers/{name}", "register")
        _wait_for(work, pending)

    words = f"{', '.join(missing)} registered" if missing else f"{', '.join(pending)} registering -> registered"
    work.change(what, words, register)


def _unregistered(work: AzureBootstrapSteps, names: Iterable[str]) -> dict[str, str]:
    """Returns the state of each provider that is not registered."""
    found = {name: work.session.arm.find(f"{work.names.scope}/providers/{name}") or {} for name in names}
    states = {name: str(each.get("registrationState", "")) for name, each in found.items()}
    return {name: state for name, state in states.items() if state != "Registered"}


def _wait_for(work: AzureBootstrapSteps, names: Iterable[str]) -> None:
    deadline, told = time.monotonic() + _REGISTER_SECONDS, 0
    while pending := _unregistered(work, names):
        if time.monotonic() > deadline:
            states = ", ".join(f"{name} ({state})" for name, state in pending.items())
            raise KitError(
                f"not registered after {_REGISTER_SECONDS // 60} minutes: {states}",
                where=work.names.scope,
                fix=f"wait until `az provider show --namespace {next(iter(pending))} --query registrationState` says "
                "Registered, then repeat the command: it resumes",
            )
        if len(pending) != told:
            told = len(pending)
            work.say(f"waiting until Azure has registered {', '.join(pending)}, which takes minutes")
        time.sleep(_POLL_SECONDS)
        names = pending


def resource_group(work: AzureBootstrapSteps, location: str) -> str:
    """Creates the resource group of the state if missing; returns its location.

    Raises:
        KitError: it is in another location; or it is missing and no location was given.
    """
    arm, names = work.session.arm, work.names
    what = f"resource group {names.group}"
    found = arm.find(names.group_id)
    if found:
        there = str(found["location"])
        if location and location.lower() != there:
            raise KitError(f"the group is in {there}", where=names.group, fix=f"repeat with --location {there}")
        work.there(what)
        return there
    # Pulumi's provider also reads $ARM_LOCATION.
    place = location or os.environ.get("ARM_LOCATION", "")
    if not place:
        raise KitError("which location?", where="--location", fix="write --location westeurope, or another one")
    work.make(what, lambda: arm.put(names.group_id, {"location": place, "tags": TAGS}))
    return place


def state_account(work: AzureBootstrapSteps, location: str) -> None:
    """Creates or repairs the storage account (no keys, no public blobs, TLS 1.2, versions, soft delete) and its
    container.
    """
    arm, names = work.session.arm, work.names
    what = f"storage account {names.account}"
    before = len(work.rows)
    found = arm.find(names.account_id)
    if found is None:
        work.make(what, lambda: arm.put(names.account_id, _account(location)))
        if work.dry_run:
            work.rows[-1]["state"] += ": without keys, versioned, private, TLS 1.2"
            return
    else:
        work.there(what)
        _access(work, found["properties"])
    _versions(work)
    _lifecycle(work)
    if found is None:  # its parts are not listed as changes
        del work.rows[before + 1 :]
    work.provide(f"container {CONTAINER}", names.container_id, {"properties": {"publicAccess": "None"}})


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


def _access(work: AzureBootstrapSteps, found: Document) -> None:
    changes: Document = {name: wanted for name, wanted in _WANTED.items() if found.get(name) is not wanted}
    if found.get("minimumTlsVersion", _WEAK_TLS[0]) in _WEAK_TLS:
        changes["minimumTlsVersion"] = "TLS1_2"
    if changes:
        words = ", ".join(f"{name} {found.get(name)} -> {value}" for name, value in changes.items())
        work.change(
            f"storage account {work.names.account}: access",
            words,
            lambda: work.session.arm.patch(work.names.account_id, {"properties": changes}),
        )


def _versions(work: AzureBootstrapSteps) -> None:
    id_ = f"{work.names.account_id}/blobServices/default"
    arm = work.session.arm
    found = (arm.find(id_) or {}).get("properties") or {}
    kept = {"enabled": True, "days": _DELETED_DAYS}
    changes: Document = {} if found.get("isVersioningEnabled") else {"isVersioningEnabled": True}
    for name in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"):
        if not (found.get(name) or {}).get("enabled"):
            changes[name] = kept
    if changes:
        work.change(
            f"storage account {work.names.account}: versions and soft delete",
            f"{', '.join(changes)} off -> on",
            lambda: arm.put(id_, {"properties": {**_settable(found), **changes}}),
        )


def _settable(found: Document) -> Document:
    """Returns the properties that a PUT must repeat, so that it does not remove other people's settings."""
    return {name: value for name, value in found.items() if value is not None and name != "provisioningState"}


def _lifecycle(work: AzureBootstrapSteps) -> None:
    id_ = f"{work.names.account_id}/managementPolicies/default"
    arm = work.session.arm
    if arm.find(id_) is not None:
        return
    old = {"version": {"delete": {"daysAfterCreationGreaterThan": _OLD_DAYS}}}
    rule = {
        "name": "old-states",
        "enabled": True,
        "type": "Lifecycle",
        "definition": {"actions": old, "filters": {"blobTypes": ["blockBlob"]}},
    }
    work.make(
        f"storage account {work.names.account}: old states expire after a year",
        lambda: arm.put(id_, {"properties": {"policy": {"rules": [rule]}}}),
    )


def state_key(work: AzureBootstrapSteps, location: str) -> None:
    """Creates the vault, with RBAC only and purge protection, and in it the key for secrets.

    Raises:
        KitError: the key can't be used.
    """
    _vault(work, location)
    names, attributes = work.names, {"enabled": True, "exportable": False}
    properties = {"kty": "RSA", "keySize": 3072, "keyOps": _OPERATIONS, "attributes": attributes}
    found = work.provide(f"key {KEY} in vault {names.vault}", names.key_id, {"properties": properties, "tags": TAGS})
    if found.get("properties", {}).get("attributes", {}).get("enabled") is False:
        raise KitError(
            "the key is disabled, so the states that it protects can't be read",
            where=f"{names.vault}, {KEY}",
            fix=f"`az keyvault key set-attributes --vault-name {names.vault} --name {KEY} --enabled true`",
        )


def _vault(work: AzureBootstrapSteps, location: str) -> None:
    arm, names = work.session.arm, work.names
    what = f"vault {names.vault}"
    found = arm.find(names.vault_id)
    if found is None:
        _new_vault(work, what, location)
        return
    wanted = {"enableRbacAuthorization": True, "enablePurgeProtection": True}
    changes = {name: True for name in wanted if not found["properties"].get(name)}
    if changes:
        work.change(
            what,
            f"{', '.join(changes)} off -> on",
            lambda: arm.patch(names.vault_id, {"properties": changes}),
        )
    else:
        work.there(what)


def _new_vault(work: AzureBootstrapSteps, what: str, location: str) -> None:
    """Creates a vault, or recovers the deleted one of this name with its keys, since it reserves the name."""
    arm, names = work.session.arm, work.names
    properties: Document = {"tenantId": work.session.caller.tenant, "sku": {"family": "A", "name": "standard"}}
    body: Document = {"location": location, "tags": TAGS, "properties": properties}
    places = f"{names.scope}/providers/Microsoft.KeyVault/locations/{location}"
    if arm.find(f"{places}/deletedVaults/{names.vault}"):
        properties["createMode"] = "recover"
        work.change(what, "deleted -> recovered", lambda: arm.put(names.vault_id, body))
        return
    properties |= {
        "enableRbacAuthorization": True,
        "enableSoftDelete": True,
        "enablePurgeProtection": True,
        "softDeleteRetentionInDays": _DELETED_DAYS,
    }
    work.make(what, lambda: arm.put(names.vault_id, body))


def caller_roles(work: AzureBootstrapSteps) -> None:
    """Assigns the roles that the caller needs to deploy, and waits until they work: an owner of the subscription can't
    read blobs.
    """
    caller, names = work.session.caller, work.names
    assign(work, "you", caller.object_id, "Storage Blob Data Contributor", names.account_id, caller.kind)
    assign(work, "you", caller.object_id, "Key Vault Crypto User", names.vault_id, caller.kind)
    if not work.dry_run:
        until_allowed(f"you may use the blobs of {names.account}", lambda: _look_at_blobs(work), work.say)
        until_allowed(f"you may use the keys of {names.vault}", lambda: _use_key(work), work.say)


def _look_at_blobs(work: AzureBootstrapSteps) -> None:
    account = work.session.arm.get(work.names.account_id)["properties"]["primaryEndpoints"]["blob"]
    AzureContainer(work.session, f"{account}{CONTAINER}").look()


def _use_key(work: AzureBootstrapSteps) -> None:
    from azure.keyvault.keys.crypto import EncryptionAlgorithm

    key = work.session.arm.get(work.names.key_id)["properties"]["keyUriWithVersion"]
    work.session.key(key).encrypt(EncryptionAlgorithm.rsa_oaep_256, b"bootstrap")
