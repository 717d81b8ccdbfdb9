"""Names of the resources that bootstrap creates in a subscription, and the record of its steps."""

import hashlib
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from llmops_kit.cli.platforms.bootstrap_steps import ADMINISTRATOR, Steps
from llmops_kit.clouds.azure.errors import explained
from llmops_kit.clouds.azure.names import ACCOUNTS, VAULTS
from llmops_kit.clouds.azure.session import AzureSession

TAGS = {"llmops:managed-by": "bootstrap"}
CONTAINER = KEY = "states"


@dataclass(frozen=True)
class AzureBootstrapNames:
    """Names of bootstrap's resources. Those of account and vault must be globally unique, so they end with a hash."""

    project: str
    subscription: str

    @property
    def scope(self) -> str:
        """The subscription's id."""
        return f"/subscriptions/{self.subscription}"

    @property
    def group(self) -> str:
        """The resource group of bootstrap's resources, at most 90 characters."""
        return shorten(f"{self._word}-state", 90)

    @property
    def group_id(self) -> str:
        """Resource id of `group`."""
        return f"{self.scope}/resourceGroups/{self.group}"

    @property
    def account(self) -> str:
        """The storage account: 3 to 24 lower-case letters and digits."""
        return f"{re.sub(r'[^a-z0-9]', '', self.project.lower())[:11]}state{self._hash}"

    @property
    def account_id(self) -> str:
        """Resource id of `account`."""
        return self.id(ACCOUNTS, self.account)

    @property
    def container_id(self) -> str:
        """Resource id of its container of states."""
        return f"{self.account_id}/blobServices/default/containers/{CONTAINER}"

    @property
    def vault(self) -> str:
        """The Key Vault: 3 to 24 letters, digits and single dashes, starting with a letter."""
        return f"{self._word[:13].rstrip('-')}-s{self._hash}"

    @property
    def vault_id(self) -> str:
        """Resource id of `vault`."""
        return self.id(VAULTS, self.vault)

    @property
    def key_id(self) -> str:
        """Resource id of the key of the states' secrets."""
        return f"{self.vault_id}/keys/{KEY}"

    def identity(self, kind: str, repository: str) -> str:
        """Returns the name of the identity for a GitHub repository's jobs; `kind` is preview, deploy or promote."""
        return shorten(f"{self._word}-{kind}-{re.sub(r'[^A-Za-z0-9]+', '-', repository)}", 128)

    def id(self, type_: str, name: str) -> str:
        """Returns the id of a resource in the group."""
        return f"{self.group_id}/providers/{type_}/{name}"

    @property
    def key(self) -> str:
        """URL for `--secrets-provider`, without a version: Pulumi uses the current one, so the key is never rotated."""
        return f"azurekeyvault://{self.vault}.vault.azure.net/keys/{KEY}"

    @property
    def _word(self) -> str:
        word = re.sub(r"[^a-z0-9]+", "-", self.project.lower()).strip("-")
        return word if word[:1].isalpha() else f"p-{word}"

    @property
    def _hash(self) -> str:
        return hashlib.sha256(f"{self.subscription} {self.project}".encode()).hexdigest()[:8]


@dataclass(kw_only=True)
class AzureBootstrapSteps(Steps):
    """Session, names and results of a bootstrap."""

    session: AzureSession
    names: AzureBootstrapNames

    def explained(self, what: str) -> AbstractContextManager[None]:
        """See Steps."""
        return explained(what, ADMINISTRATOR)

    def provide(self, what: str, id_: str, body: dict[str, Any]) -> dict[str, Any]:
        """Creates a resource unless it exists. Returns it; empty in a dry run."""
        arm, found = self.session.arm, self.session.arm.find(id_)
        if found is not None:
            self.there(what)
            return found
        made: list[dict[str, Any]] = []
        self.make(what, lambda: made.append(arm.put(id_, body)))
        return made[0] if made else {}


def shorten(name: str, limit: int) -> str:
    """Returns a name of at most `limit` characters: a longer one is cut, and ends with its hash."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 9].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
