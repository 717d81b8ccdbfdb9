"""Prepares a subscription for its first stack: storage of states, a key for secrets, identities for GitHub.

Idempotent: changes only what differs, names each change, and weakens nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.platforms.azure.bootstrap.foundations import stack_place
from llmops_kit.cli.platforms.azure.bootstrap.github import github_identities
from llmops_kit.cli.platforms.azure.bootstrap.names import CONTAINER, KEY, AzureBootstrapNames, AzureBootstrapSteps
from llmops_kit.cli.platforms.azure.bootstrap.state import (
    caller_roles,
    providers,
    resource_group,
    state_account,
    state_key,
)
from llmops_kit.cli.platforms.bootstrap_steps import ADMINISTRATOR
from llmops_kit.cli.platforms.github import GithubRepository
from llmops_kit.clouds.azure.errors import explained
from llmops_kit.clouds.azure.names import IDENTITIES
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.errors import KitError


@dataclass(frozen=True)
class BootstrappedSubscription:
    """Resources that bootstrap found or created, and the values that users need."""

    rows: list[dict[str, str]]
    names: AzureBootstrapNames
    tenant: str
    location: str
    backend: str
    """URL for `pulumi login`."""
    secrets_provider: str
    """Empty on a twin, whose vault Pulumi can't reach: a passphrase protects secrets there."""
    roles: dict[str, str]
    """preview, deploy and promote -> resource id of the identity."""
    client_ids: dict[str, str]
    """The same -> the `client-id` for `azure/login`; empty in a dry run."""
    stacks: dict[str, dict[str, Any]]
    """Stack -> `llmops:azure` of its file."""


def bootstrap(
    session: AzureSession,
    project: str,
    say: Say,
    *,
    location: str = "",
    github: str = "",
    by_name: bool = False,
    branch: str = "main",
    stacks: Sequence[str] = (),
    operators: Sequence[str] = (),
    policy: dict[str, Any] | None = None,
    dry_run: bool = False,
) -> BootstrappedSubscription:
    """Prepares a subscription for the kit's stacks.

    Args:
        session: of an owner of the subscription.
        project: the Pulumi project's name.
        say: called with a line for each step.
        location: such as westeurope; empty: that of the resource group.
        github: `OWNER/REPO` or `OWNER@ID/REPO@ID` whose workflows get identities for previews, `up` and promoting;
            empty: none.
        by_name: in addition to tokens with ids, trust those with names only.
        branch: from which `up` may run.
        stacks: stacks that get a resource group, identities and a signing key; the only ones that `github` may deploy.
        operators: `[KIND:]OBJECT_ID` of the stacks' users besides the caller.
        policy: role definition of the deploy identity (`llmops plan --policy`); None: Contributor.
        dry_run: change nothing.

    Raises:
        KitError: a resource belongs to somebody else, or would have to be weakened; the location is missing; or
            `github` is not a repository.
    """
    repository = GithubRepository.parse(github, by_name) if github else None
    work = AzureBootstrapSteps(
        session=session, names=AzureBootstrapNames(project, session.subscription), say=say, dry_run=dry_run
    )
    with explained("bootstrap", ADMINISTRATOR):
        providers(work)
        place = resource_group(work, location)
        state_account(work, place)
        state_key(work, place)
        caller_roles(work)
        places = [stack_place(work, stack, place, operators) for stack in stacks]
        made = github_identities(work, place, repository, branch, places, policy) if repository else {}
        path = repository.path if repository else ""
        names = work.names
        return BootstrappedSubscription(
            work.rows,
            names,
            session.caller.tenant,
            place,
            _backend(session, names),
            "" if session.twin else names.key,
            {kind: names.id(IDENTITIES, names.identity(kind, path)) for kind in made},
            made,
            {each.stack: each.settings for each in places},
        )


def key_url(session: AzureSession, project: str) -> str:
    """Returns the secrets provider that bootstrap created for a project.

    Raises:
        KitError: it does not exist.
    """
    names = AzureBootstrapNames(project, session.subscription)
    if session.arm.find(f"{names.vault_id}/keys/{KEY}") is None:
        raise KitError(
            f"there is no key {KEY} for the secrets of a new stack",
            where=f"subscription {names.subscription}, vault {names.vault}",
            fix="`llmops bootstrap azure` creates it; or name another one in `secretsprovider:` of the stack file",
        )
    return names.key


def _backend(session: AzureSession, names: AzureBootstrapNames) -> str:
    plain = f"azblob://{CONTAINER}?storage_account={names.account}"
    if not session.twin:
        return plain
    # On a twin, accounts have no host names: https://localhost:PORT/storage/<account>/<container>.
    return f"{plain}&domain={urlsplit(session.twin).netloc}/storage"
