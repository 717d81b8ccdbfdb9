"""Microsoft.KeyVault: vaults with soft deletion, and their keys and secrets through Resource Manager.

https://learn.microsoft.com/rest/api/keyvault/keyvault/vaults
"""

import re
from typing import Any

from llmops_twins.azure.arm import soft_delete
from llmops_twins.azure.protocol import body_checks
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, Reply, timestamp
from llmops_twins.azure.protocol.ids import Id
from llmops_twins.azure.protocol.kinds import ResourceKind, SoftDelete
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.azure.vault import keys, vault, vault_documents
from llmops_twins.azure.vault.vault import VAULTS, VaultContents
from llmops_twins.azure.vault.vault_host import VaultApp

DELETED = "Microsoft.KeyVault/locations/deletedVaults"
CREATE_SECONDS = 30.0
UNJUDGED = [
    "vaults: access policies are kept but grant nothing: a vault without RBAC refuses everybody",
    "vaults: no certificates, imports, backups, key rotation or managed HSMs; firewalls block nobody",
    "vaults: a client needs verify_challenge_resource=False: a twin's vaults are not below vault.azure.net",
]
_NAME = re.compile(r"[a-zA-Z](?!.*--)[a-zA-Z0-9-]{1,22}[a-zA-Z0-9]")
_DELETED_MESSAGE = (
    "A vault with the same name already exists in deleted state. You need to either recover or purge existing key "
    "vault. Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information on soft delete."
)
_RETENTION_DAYS = 90
_INVALID = "BadRequest"
_VAULT = body_checks.Body(VAULTS, code=_INVALID)
_KEY = body_checks.Body(
    vault_documents.KEYS,
    # `keys.make` checks these, with the codes of the vault's own API.
    values={
        "properties.kty": body_checks.TEXT,
        "properties.curveName": body_checks.TEXT,
        "properties.keyOps": {"type": "array", "items": body_checks.TEXT},
    },
    code=_INVALID,
)
_SECRET = body_checks.Body(vault_documents.SECRETS, code=_INVALID)


def install(twin: TenantTwin) -> None:
    """Registers the kinds and actions."""
    soft = SoftDelete(
        _RETENTION_DAYS,
        recover=lambda body: _recovers(body),
        globally=True,
        message=_DELETED_MESSAGE,
    )
    twin.kind(
        ResourceKind(
            VAULTS,
            put=_put,
            begun=_begun,
            gone=_gone,
            seconds=CREATE_SECONDS,
            delete_seconds=0.0,
            change_seconds=0.0,
            polled={"PUT": ()},  # VaultProvisioningState of the specification only has "Succeeded" and "RegisteringDns"
            creating="RegisteringDns",
            soft_delete=soft,
            codes=(200, 200),
            location=True,
        )
    )
    for type_, put in ((vault_documents.KEYS, _put_key), (vault_documents.SECRETS, _put_secret)):
        twin.kind(
            ResourceKind(
                type_,
                put=put,
                deleting=_refuse,
                patch=False,
                name=r"[0-9a-zA-Z-]{1,127}",
                provisioning=False,
                codes=(200, 200),
            )
        )
    twin.kind(
        ResourceKind(DELETED, put=_refuse, deleting=_refuse, patch=False, scopes=("subscription",), provisioning=False)
    )
    permission = "Microsoft.KeyVault/deletedVaults/read"
    twin.action("Microsoft.KeyVault", "deletedVaults", _list_deleted, permission, "GET")
    twin.action(DELETED, "purge", _purge)
    twin.resumers.append(lambda: _resume(twin))
    twin.unjudged += UNJUDGED


def address(twin: TenantTwin, name: str) -> str:
    """Returns a vault's address: https://localhost:PORT, without a slash."""
    return twin.data_plane(_plane(name), VaultApp(twin, name))


def _plane(name: str) -> str:
    return f"vault/{name.lower()}"


def _resume(twin: TenantTwin) -> None:
    for document in list(twin.resources.values()):
        if document["type"] == VAULTS:
            _begun(twin, document)


def _recovers(body: Document) -> bool:
    return (body.get("properties") or {}).get("createMode") == "recover"


def _put(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    parsed = Id.parse(call.id)
    _check_name(twin, parsed.name, there)
    body = _VAULT.judged(call)
    given = body["properties"]
    if there is None and _recovers(body):
        return _recovered(twin, parsed)
    before = there["properties"] if there else {}
    _check(twin, given, before)
    merged = {
        "tenantId": twin.tenant,
        "accessPolicies": [],
        "enabledForDeployment": False,
        "enableSoftDelete": True,
        "softDeleteRetentionInDays": _RETENTION_DAYS,
        "enableRbacAuthorization": False,
        "publicNetworkAccess": "Enabled",
        **{k: v for k, v in before.items() if k != "provisioningState"},
        **{k: v for k, v in given.items() if k != "createMode"},
    }
    if there is None:
        vault.forget(twin, parsed.name)  # the contents of an expired vault of this name
    document: Document = {"location": body.get("location") or (there or {}).get("location")}
    tags = body.get("tags", (there or {}).get("tags"))
    return {**document, "tags": tags or {}, "properties": merged}


def _check_name(twin: TenantTwin, name: str, there: Document | None) -> None:
    if not _NAME.fullmatch(name):
        message = f"The vault name '{name}' is invalid. A vault's name must be between 3-24 alphanumeric characters. The name must begin with a letter, end with a letter or digit, and not contain consecutive hyphens. Follow this link for more information: https://go.microsoft.com/fwlink/?linkid=2147742"  # fmt: skip # noqa: E501
        raise ArmError(400, "VaultNameNotValid", message)
    if there is None and vault.named(twin, name):
        message = f"The vault name '{name}' is already in use. Vault names are globally unique so it is possible that the name is already taken. If you are sure that the vault name was not taken then it is possible that a vault with the same name was recently deleted but not purged after being placed in a recoverable state. If the vault is in a recoverable state then the vault will either need to be recovered or purged."  # fmt: skip # noqa: E501
        raise ArmError(409, "VaultAlreadyExists", message)


def _check(twin: TenantTwin, given: Document, before: Document) -> None:
    if given["tenantId"] != twin.tenant:
        raise ArmError(400, _INVALID, f"An invalid value was provided for 'tenantId': {given['tenantId']}.")
    by_roles = given.get("enableRbacAuthorization", before.get("enableRbacAuthorization"))
    if not by_roles and given.get("accessPolicies", before.get("accessPolicies")) is None:
        raise ArmError(400, _INVALID, "An invalid value was provided for 'accessPolicies'.")
    if given.get("enablePurgeProtection") is False:
        message = 'The property "enablePurgeProtection" cannot be set to false. Enabling the purge protection for a vault is an irreversible action.'  # fmt: skip # noqa: E501
        raise ArmError(400, _INVALID, message)
    if given.get("enableSoftDelete") is False:
        message = 'The property "enableSoftDelete" cannot be set to false: every vault keeps what is deleted.'
        raise ArmError(400, _INVALID, message)
    days = given.get("softDeleteRetentionInDays")
    if days is not None and not 7 <= days <= 90:
        message = 'An invalid value was provided for "softDeleteRetentionInDays": it is between 7 and 90.'
        raise ArmError(400, _INVALID, message)
    if before and days not in (None, before["softDeleteRetentionInDays"]):
        message = 'The property "softDeleteRetentionInDays" has been set already and it can\'t be modified.'
        raise ArmError(400, _INVALID, message)


def _recovered(twin: TenantTwin, parsed: Id) -> Document:
    kind = twin.kinds[VAULTS.lower()]
    found = soft_delete.blocked_by(twin, kind, parsed)
    if found is None:
        message = f"A vault with the name '{parsed.name}' does not exist in deleted state."
        raise ArmError(404, "VaultNotFound", message)
    soft_delete.purge(twin, found["id"])
    twin.drop(_deleted_id(twin, found))
    return {name: found[name] for name in ("location", "tags", "properties") if name in found}


def _begun(twin: TenantTwin, document: Document) -> None:
    place = address(twin, document["name"])
    document["properties"]["vaultUri"] = f"{place}/"
    of = VaultContents(twin, document)
    for name in of.names("keys"):
        vault_documents.keep(twin, of, "keys", name, place)
    for name in of.names("secrets"):
        vault_documents.keep(twin, of, "secrets", name, place)


def _gone(twin: TenantTwin, document: Document) -> None:
    """Stops the host of a deleted vault, and keeps its document as deleted for softDeleteRetentionInDays."""
    twin.end_data_plane(_plane(document["name"]))
    kept = soft_delete.deleted(twin).get(document["id"].lower())
    if kept is None:
        return
    days = document["properties"]["softDeleteRetentionInDays"]
    kept["_until"] = kept["_deleted"] + days * 86_400
    properties = {
        "vaultId": document["id"],
        "location": document.get("location"),
        "tags": document.get("tags") or {},
        "deletionDate": timestamp(kept["_deleted"]),
        "scheduledPurgeDate": timestamp(kept["_until"]),
        "purgeProtectionEnabled": bool(document["properties"].get("enablePurgeProtection")),
    }
    place = _deleted_id(twin, document)
    twin.keep({"id": place, "name": document["name"], "type": DELETED, "properties": properties})


def _deleted_id(twin: TenantTwin, document: Document) -> str:
    place = f"/subscriptions/{twin.subscription}/providers/Microsoft.KeyVault/locations"
    return f"{place}/{document.get('location', 'global')}/deletedVaults/{document['name']}"


def _list_deleted(twin: TenantTwin, call: ArmCall, _document: Any) -> Document:
    found = [each for each in twin.resources.values() if each["type"] == DELETED]
    return {"value": [{k: v for k, v in each.items() if not k.startswith("_")} for each in found]}


def _purge(twin: TenantTwin, call: ArmCall, document: Any) -> Reply:
    if document["properties"]["purgeProtectionEnabled"]:
        raise ArmError(405, "MethodNotAllowed", "Operation 'DeletedVaultPurge' is not allowed.")
    soft_delete.purge(twin, document["properties"]["vaultId"])
    vault.forget(twin, document["name"])
    twin.drop(document["id"])
    return Reply(200)


def _put_key(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    """Creates a key; an existing one is left unchanged."""
    of, name, body = _vault_of(twin, call), Id.parse(call.id).name, _KEY.judged(call)
    if there is None:
        given = body["properties"]
        attributes = vault_documents.attributes_of(given)
        premium = of.document["properties"]["sku"]["name"] == "premium"
        size, curve = given.get("keySize", 0), given.get("curveName", "")
        kty, operations = given.get("kty", ""), given.get("keyOps") or None
        made = keys.make(kty, curve, size, operations, premium=premium)
        of.add("keys", name, {**made, "tags": body.get("tags", {})}, attributes)
    return vault_documents.keep(twin, of, "keys", name, address(twin, of.name))


def _put_secret(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    of, name, body = _vault_of(twin, call), Id.parse(call.id).name, _SECRET.judged(call)
    given = body["properties"]
    content = {"contentType": given.get("contentType"), "tags": body.get("tags", {})}
    if "value" in given:
        of.add("secrets", name, {"value": given["value"], **content}, vault_documents.attributes_of(given))
    elif there is None:
        raise ArmError(400, _INVALID, "The 'value' of a secret is missing.")
    else:
        of.change(of.get("secrets", name), vault_documents.attributes_of(given), **content)
    return vault_documents.keep(twin, of, "secrets", name, address(twin, of.name))


def _vault_of(twin: TenantTwin, call: ArmCall) -> VaultContents:
    found = twin.find(Id.parse(call.id).parent)
    assert found is not None
    return VaultContents(twin, found)


def _refuse(twin: TenantTwin, call: ArmCall, _document: Any) -> Any:
    raise ArmError(405, "MethodNotAllowed", f"Resource Manager has no {call.method} of {Id.parse(call.id).type}.")
