"""What a subscription needs before the first stack: a place for states, a key for secrets, identities for GitHub.

Idempotent: what is there is looked at, what differs is changed and named, and nothing is made weaker than it is.
"""

import hashlib
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from contract.errors import KitError
from llmops.platforms.azure.clients import Clients, explained
from llmops.platforms.platform import Say
from llmops.platforms.steps import ADMINISTRATOR, Steps

TAGS = {"llmops:managed-by": "bootstrap"}
STORAGE = "Microsoft.Storage/storageAccounts"
VAULTS = "Microsoft.KeyVault/vaults"
IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
GROUP_API, STORAGE_API, VAULT_API, IDENTITY_API = "2024-03-01", "2024-01-01", "2024-11-01", "2023-01-31"
CONTAINER = KEY = "states"


@dataclass(frozen=True)
class Names:
    """What bootstrap calls its things. Account and vault have names in the whole world: a hash of both ends them."""

    project: str
    subscription: str

    @property
    def scope(self) -> str:
        """The subscription's id."""
        return f"/subscriptions/{self.subscription}"

    @property
    def group(self) -> str:
        """The resource group of everything here, at most 90 characters."""
        return shorten(f"{self._word}-state", 90)

    @property
    def group_id(self) -> str:
        """Its id."""
        return f"{self.scope}/resourceGroups/{self.group}"

    @property
    def account(self) -> str:
        """The storage account: 3 to 24 small letters and digits."""
        return f"{re.sub(r'[^a-z0-9]', '', self.project.lower())[:11]}state{self._hash}"

    @property
    def account_id(self) -> str:
        """Its id."""
        return self.id(STORAGE, self.account)

    @property
    def container_id(self) -> str:
        """Resource id of its container of states."""
        return f"{self.account_id}/blobServices/default/containers/{CONTAINER}"

    @property
    def vault(self) -> str:
        """3 to 24 letters, digits and single dashes, a letter first."""
        return f"{self._word[:13].rstrip('-')}-s{self._hash}"

    @property
    def vault_id(self) -> str:
        """Its id."""
        return self.id(VAULTS, self.vault)

    @property
    def key_id(self) -> str:
        """Resource id of the key of the states' secrets."""
        return f"{self.vault_id}/keys/{KEY}"

    def identity(self, kind: str, repository: str) -> str:
        """The identity of the jobs of a GitHub repository; `kind` is preview, deploy or promote."""
        return shorten(f"{self._word}-{kind}-{re.sub(r'[^A-Za-z0-9]+', '-', repository)}", 128)

    def id(self, type_: str, name: str) -> str:
        """Of a thing in the group."""
        return f"{self.group_id}/providers/{type_}/{name}"

    @property
    def key(self) -> str:
        """For `--secrets-provider`. Without a version: Pulumi asks for the current one, so the key is never rotated."""
        return f"azurekeyvault://{self.vault}.vault.azure.net/keys/{KEY}"

    @property
    def _word(self) -> str:
        word = re.sub(r"[^a-z0-9]+", "-", self.project.lower()).strip("-")
        return word if word[:1].isalpha() else f"p-{word}"

    @property
    def _hash(self) -> str:
        return hashlib.sha256(f"{self.subscription} {self.project}".encode()).hexdigest()[:8]


@dataclass(kw_only=True)
class Work(Steps):
    """Where bootstrap works, and what it did."""

    clients: Clients
    names: Names

    def explained(self, what: str) -> AbstractContextManager[None]:
        """See Steps."""
        return explained(what, ADMINISTRATOR)


@dataclass(frozen=True)
class BootstrappedSubscription:
    """What was found and done, and what to write down."""

    rows: list[dict[str, str]]
    names: Names
    tenant: str
    location: str
    backend: str
    """For `pulumi login`."""
    secrets_provider: str
    """Empty on a twin, whose vault Pulumi doesn't find: there a passphrase protects secrets."""
    roles: dict[str, str]
    """preview, deploy and promote -> resource id of the identity."""
    client_ids: dict[str, str]
    """The same -> what `azure/login` takes; none where it was only looked."""
    stacks: dict[str, dict[str, Any]]
    """Stack -> what its file says in `llmops:azure`."""


def bootstrap(
    clients: Clients,
    project: str,
    say: Say,
    *,
    location: str = "",
    github: str = "",
    branch: str = "main",
    stacks: Sequence[str] = (),
    operators: Sequence[str] = (),
    policy: dict[str, Any] | None = None,
    dry_run: bool = False,
) -> BootstrappedSubscription:
    """Bring a subscription to what the kit's stacks need of it.

    Args:
        clients: of an owner of the subscription.
        project: the Pulumi project's name.
        say: told each step.
        location: such as westeurope; empty: where the resource group is.
        github: `OWNER/REPO` whose workflows get identities for previews, `up` and promoting; empty: none.
        branch: from which `up` may run.
        stacks: which get a resource group, identities and a signing key; the only ones that `github` may deploy.
        operators: `[KIND:]OBJECT_ID` of who uses those stacks beside the caller.
        policy: a role definition of what the deploy identity may do (`llmops plan --policy`); None: Contributor.
        dry_run: only look.

    Raises:
        KitError: something is there that is somebody else's, or would have to be weakened; or there is no location.
    """
    from llmops.platforms.azure.bootstrap.github import github_identities
    from llmops.platforms.azure.bootstrap.stack import stack_place
    from llmops.platforms.azure.bootstrap.state import (
        caller_roles,
        providers,
        resource_group,
        state_account,
        state_key,
    )

    work = Work(clients=clients, names=Names(project, clients.subscription), say=say, dry_run=dry_run)
    with explained("bootstrap", ADMINISTRATOR):
        providers(work)
        place = resource_group(work, location)
        state_account(work, place)
        state_key(work, place)
        caller_roles(work)
        places = [stack_place(work, stack, place, operators) for stack in stacks]
        made = github_identities(work, place, github, branch, places, policy) if github else {}
        names = work.names
        return BootstrappedSubscription(
            work.rows,
            names,
            clients.caller.tenant,
            place,
            _backend(clients, names),
            "" if clients.twin else names.key,
            {kind: names.id(IDENTITIES, names.identity(kind, github)) for kind in made},
            made,
            {each.stack: each.settings for each in places},
        )


def key_url(clients: Clients, project: str) -> str:
    """The secrets provider that bootstrap made for a project.

    Raises:
        KitError: it was not made.
    """
    names = Names(project, clients.subscription)
    if clients.arm.find(f"{names.vault_id}/keys/{KEY}", VAULT_API) is None:
        raise KitError(
            f"there is no key {KEY} for the secrets of a new stack",
            where=f"subscription {names.subscription}, vault {names.vault}",
            fix="`llmops bootstrap azure` makes it; `secretsprovider:` in the stack file names another one",
        )
    return names.key


def _backend(clients: Clients, names: Names) -> str:
    plain = f"azblob://{CONTAINER}?storage_account={names.account}"
    if not clients.twin:
        return plain
    # No account there has a host by its name: https://localhost:PORT/storage/<account>/<container>.
    return f"{plain}&domain={urlsplit(clients.twin).netloc}/storage"


def shorten(name: str, limit: int) -> str:
    """A name of at most so many characters: cut, with a hash of the whole."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 9].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
