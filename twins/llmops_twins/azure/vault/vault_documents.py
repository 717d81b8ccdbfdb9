"""Keys and secrets in the form of a vault's host and of Resource Manager."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.azure.vault import keys
from llmops_twins.azure.vault.vault import Sort, VaultContents

KEYS = "Microsoft.KeyVault/vaults/keys"
SECRETS = "Microsoft.KeyVault/vaults/secrets"
_ARM_ATTRIBUTES = ("enabled", "nbf", "exp", "created", "updated")


class Shown:
    """The public forms of keys or secrets, with ids below the vault's address (https://localhost:PORT)."""

    def __init__(self, vault: VaultContents, sort: Sort, address: str) -> None:
        self._vault = vault
        self._sort: Sort = sort
        self._address = address

    def bundle(self, name: str, version: Document) -> Document:
        """Returns a version: a key's public half, or a secret's value."""
        place = f"{self._address}/{self._sort}/{name}/{version['version']}"
        common = {"attributes": version["attributes"], "tags": version["tags"]}
        if self._sort == "keys":
            return {"key": keys.public(version, place), **common}
        kind = {"contentType": version["contentType"]} if version.get("contentType") else {}
        return {"value": version["value"], "id": place, **kind, **common}

    def item(self, name: str, version: Document, number: str = "") -> Document:
        """Returns a version as lists show it: without key material or value."""
        place = f"{self._address}/{self._sort}/{name}" + (f"/{number}" if number else "")
        common = {"attributes": version["attributes"], "tags": version["tags"]}
        if self._sort == "keys":
            return {"kid": place, **common}
        kind = {"contentType": version["contentType"]} if version.get("contentType") else {}
        return {"id": place, **kind, **common}

    def deleted_bundle(self, name: str) -> Document:
        """Returns a deleted key or secret, without a secret's value."""
        found = self._vault.deleted_named(self._sort, name)
        shown = self.bundle(name, found["versions"][-1])
        shown.pop("value", None)
        return shown | self._deletion(name, found)

    def deleted_item(self, name: str) -> Document:
        """Returns an item of a list of deleted ones."""
        found = self._vault.deleted_named(self._sort, name)
        return self.item(name, found["versions"][-1]) | self._deletion(name, found)

    def _deletion(self, name: str, found: Document) -> Document:
        place = f"{self._address}/deleted{self._sort}/{name}"
        return {"recoveryId": place, "deletedDate": found["deleted"], "scheduledPurgeDate": found["until"]}


def attributes_of(body: Document) -> Document:
    """Returns the attributes of a version that a client sent."""
    given = body.get("attributes") or {}
    return {name: given[name] for name in ("enabled", "nbf", "exp") if given.get(name) is not None}


def keep(twin: TenantTwin, vault: VaultContents, sort: Sort, name: str, address: str) -> Document:
    """Updates Resource Manager's document of a key or secret."""
    version = vault.get(sort, name)
    place = f"{address}/{sort}/{name}"
    names = (*_ARM_ATTRIBUTES, "recoveryLevel") if sort == "keys" else _ARM_ATTRIBUTES
    attributes = {key: version["attributes"][key] for key in names if key in version["attributes"]}
    properties: dict[str, Any] = {"attributes": attributes}
    if sort == "keys":
        properties |= {"kty": version["kty"], "keyOps": version["key_ops"]}
        properties |= {"curveName": version["crv"]} if version["crv"] else {"keySize": size_of(version)}
        properties |= {"keyUri": place, "keyUriWithVersion": f"{place}/{version['version']}"}
    else:
        properties |= {"secretUri": place, "secretUriWithVersion": f"{place}/{version['version']}"}
        properties |= {"contentType": version["contentType"]} if version.get("contentType") else {}
    document: Document = {
        "id": f"{vault.document['id']}/{sort}/{name}",
        "name": name,
        "type": KEYS if sort == "keys" else SECRETS,
        "location": vault.document.get("location"),
        "tags": version["tags"],
        "properties": properties,
    }
    twin.keep(document)
    return document


def size_of(version: Document) -> int:
    """Returns the size of an RSA key, in bits; 0 for others."""
    private = load_pem_private_key(version["pem"].encode(), None)
    return private.key_size if isinstance(private, rsa.RSAPrivateKey) else 0
