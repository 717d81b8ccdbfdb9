"""Contents of a key vault: keys and secrets with their versions, and deleted ones that can be recovered.

https://learn.microsoft.com/rest/api/keyvault/
"""

import time
import uuid
from typing import Any, Literal

from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.twin import TenantTwin

VAULTS = "Microsoft.KeyVault/vaults"
Sort = Literal["keys", "secrets"]
_DAY = 86_400
_RETENTION_DAYS = 90
_WORDS = {"keys": ("Key", "key"), "secrets": ("Secret", "secret")}


class VaultError(ArmError):
    """A refusal of a vault; `inner` is the inner error code."""

    def __init__(self, status: int, code: str, message: str, inner: str = "") -> None:
        super().__init__(status, code, message)
        self.inner = inner

    def error(self) -> dict[str, Any]:
        return super().error() | ({"innererror": {"code": self.inner}} if self.inner else {})


class VaultContents:
    """A vault's contents; callers hold the twin's lock. Versions are documents with `version`, `attributes` (enabled,
    created, updated, …), `tags`, and members of keys or secrets.
    """

    def __init__(self, twin: TenantTwin, document: Document) -> None:
        self._twin = twin
        self.document = document
        self.name: str = document["name"]

    @property
    def protected(self) -> bool:
        """Whether purge protection is on."""
        return bool(self.document["properties"].get("enablePurgeProtection"))

    @property
    def days(self) -> int:
        """The retention period of deleted keys and secrets, in days."""
        return int(self.document["properties"].get("softDeleteRetentionInDays", _RETENTION_DAYS))

    def names(self, sort: Sort) -> list[str]:
        """Returns all names, in order."""
        return sorted(self._of(sort))

    def versions(self, sort: Sort, name: str) -> list[Document]:
        """Returns all versions, oldest first.

        Raises:
            VaultError: 404.
        """
        return self._named(sort, name)

    def get(self, sort: Sort, name: str, version: str = "") -> Document:
        """Returns a version, by default the newest.

        Raises:
            VaultError: 404.
        """
        found = self._named(sort, name)
        if not version:
            return found[-1]
        for each in found:
            if each["version"] == version:
                return each
        raise _missing(sort, f"{name}/{version}")

    def add(self, sort: Sort, name: str, content: Document, attributes: Document) -> Document:
        """Stores a value as the newest version of a secret or key.

        Raises:
            VaultError: 409, a deleted and recoverable key or secret has the name.
        """
        if name in self._deleted(sort):
            word = _WORDS[sort][0]
            message = f"{word} {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the {word.lower()} can only be recovered or purged."  # fmt: skip # noqa: E501
            raise VaultError(409, "Conflict", message, "ObjectIsDeletedButRecoverable")
        now = int(time.time())
        level = "Recoverable" if self.protected else "Recoverable+Purgeable"
        level = level if self.days == _RETENTION_DAYS else f"Customized{level}"
        own = {"created": now, "updated": now, "recoveryLevel": level, "recoverableDays": self.days}
        made = {**content, "version": uuid.uuid4().hex, "attributes": {"enabled": True, **attributes, **own}}
        self._of(sort).setdefault(name, []).append(made)
        self._twin.changed()
        return made

    def change(self, version: Document, attributes: Document, **members: Any) -> Document:
        """Changes the mutable members of a version."""
        version["attributes"] |= {**attributes, "updated": int(time.time())}
        version.update({name: value for name, value in members.items() if value is not None})
        self._twin.changed()
        return version

    def delete(self, sort: Sort, name: str) -> Document:
        """Soft-deletes a key or secret. Returns the kept `versions`, with the times `deleted` and `until`.

        Raises:
            VaultError: 404.
        """
        versions = self._named(sort, name)
        now = int(time.time())
        self._deleted(sort)[name] = {"versions": versions, "deleted": now, "until": now + self.days * _DAY}
        del self._of(sort)[name]
        self._twin.changed()
        return self._deleted(sort)[name]

    def deleted(self, sort: Sort) -> dict[str, Document]:
        """Returns deleted keys or secrets by name."""
        return self._deleted(sort)

    def deleted_named(self, sort: Sort, name: str) -> Document:
        """Returns a deleted key or secret.

        Raises:
            VaultError: 404.
        """
        found = self._deleted(sort).get(name)
        if found is None:
            message = f"Deleted {_WORDS[sort][0]} not found: {name}"
            raise VaultError(404, f"{_WORDS[sort][0]}NotFound", message)
        return found

    def recover(self, sort: Sort, name: str) -> Document:
        """Recovers a deleted key or secret, and returns its newest version.

        Raises:
            VaultError: 404.
        """
        self._of(sort)[name] = self.deleted_named(sort, name)["versions"]
        del self._deleted(sort)[name]
        self._twin.changed()
        return self._of(sort)[name][-1]

    def purge(self, sort: Sort, name: str) -> None:
        """Deletes a soft-deleted key or secret for good.

        Raises:
            VaultError: 404; 403 under purge protection.
        """
        self.deleted_named(sort, name)
        if self.protected:
            message = 'Operation "purge" is not allowed on this vault: purge protection is enabled.'
            raise VaultError(403, "Forbidden", message, "ForbiddenByPolicy")
        del self._deleted(sort)[name]
        self._twin.changed()

    def _named(self, sort: Sort, name: str) -> list[Document]:
        found = self._of(sort).get(name)
        if not found:
            raise _missing(sort, name)
        return found

    def _of(self, sort: Sort) -> dict[str, list[Document]]:
        return contents(self._twin, self.name).setdefault(sort, {})

    def _deleted(self, sort: Sort) -> dict[str, Document]:
        return contents(self._twin, self.name).setdefault(f"deleted {sort}", {})


def contents(twin: TenantTwin, name: str) -> dict[str, Any]:
    """Returns all of a vault's contents, including deleted ones and private keys."""
    return twin.state.setdefault("vaults", {}).setdefault(name.lower(), {})


def forget(twin: TenantTwin, name: str) -> None:
    """Drops a vault's contents."""
    twin.state.setdefault("vaults", {}).pop(name.lower(), None)
    twin.changed()


def named(twin: TenantTwin, name: str) -> Document | None:
    """Returns a vault by its name, which is unique."""
    for document in twin.resources.values():
        if document["type"] == VAULTS and document["name"].lower() == name.lower():
            return document
    return None


def _missing(sort: Sort, name: str) -> VaultError:
    word, small = _WORDS[sort]
    message = f"A {small} with (name/id) {name} was not found in this key vault. If you recently deleted this {small} you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"  # fmt: skip # noqa: E501
    return VaultError(404, f"{word}NotFound", message)
