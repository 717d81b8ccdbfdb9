"""Identities for GitHub Actions, without stored secrets: GitHub's token names the repository.

https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust-user-assigned-managed-identity
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from llmops_kit.cli.platforms.azure.bootstrap.foundations import StackPlace, identity
from llmops_kit.cli.platforms.azure.bootstrap.names import TAGS, AzureBootstrapSteps
from llmops_kit.cli.platforms.azure.bootstrap.roles import (
    assign,
    define,
    look_around,
    only_the_stacks_own,
    only_what_is_said_of_versions,
    read_key,
    read_states,
    sign,
    take_back,
    use_states_key,
    write_states,
)
from llmops_kit.cli.platforms.github import GithubRepository, contexts, subject_of
from llmops_kit.clouds.azure.names import IDENTITIES
from llmops_kit.core.errors import KitError

ISSUER = "https://token.actions.githubusercontent.com"
_AUDIENCE = "api://AzureADTokenExchange"
_WITH_IDS = "-ids"
_NEVER = (
    "microsoft.authorization/roleassignments/write",
    "microsoft.authorization/roleassignments/delete",
    "microsoft.authorization/roledefinitions/write",
    "microsoft.authorization/roledefinitions/delete",
    "microsoft.authorization/elevateaccess",
    "microsoft.keyvault/vaults/keys/sign/",
)
Document = dict[str, Any]


def github_identities(
    work: AzureBootstrapSteps,
    location: str,
    repository: GithubRepository,
    branch: str,
    stacks: Sequence[StackPlace],
    policy: Document | None,
) -> dict[str, str]:
    """Creates the workflows' identities, the federated credentials that trust them, and their roles.

    Returns:
        preview, deploy and promote -> client id; empty in a dry run.

    Raises:
        KitError: no stack is named.
    """
    if not stacks:
        raise KitError(
            "which stacks may the workflows deploy? Their identities get roles in these stacks' resource groups only",
            where="--for",
            fix="add `--for STACK` for each of them",
        )
    found = {}
    for kind, allowed in contexts(branch).items():
        name = work.names.identity(kind, repository.path)
        found[kind] = identity(work, location, work.names.id(IDENTITIES, name), TAGS)
        _trust(work, name, repository, allowed)
    preview, deploy, promote = (
        (work.names.identity(kind, repository.path), str(each.get("principalId", ""))) for kind, each in found.items()
    )
    _preview(work, *preview, stacks)
    _deploy(work, *deploy, stacks, policy)
    _promote(work, *promote, stacks)
    if repository.note:
        work.say(repository.note)
    return {kind: str(each.get("clientId", "")) for kind, each in found.items()}


def _trust(work: AzureBootstrapSteps, identity: str, repository: GithubRepository, allowed: dict[str, str]) -> None:
    """Writes an identity's federated credentials, one at a time: Azure rejects concurrent changes of them.

    Each one has a single subject, so a context has two if tokens are trusted with ids and without: NAME-ids and NAME.
    The limit of an identity is 20:
    https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations
    """
    root = f"{work.names.id(IDENTITIES, identity)}/federatedIdentityCredentials"
    there = {each["name"]: each["properties"] for each in work.session.arm.list(root)}
    for name, context in allowed.items():
        if repository.with_ids:
            credential = f"{name}{_WITH_IDS}"
            _credential(
                work, identity, credential, subject_of(repository.with_ids, context), there.pop(credential, None)
            )
        elif with_ids := there.pop(f"{name}{_WITH_IDS}", None):
            work.keep(f"identity {identity}: {name}", f"{with_ids.get('subject')}: --github names no ids")
            if name not in there:
                continue  # names without ids are weaker: somebody else may register them once they are free
        found = there.pop(name, None)
        if repository.by_name:
            _credential(work, identity, name, subject_of(repository.path, context), found)
        elif found and str(found.get("subject")).startswith(subject_of(repository.path, "")):
            change = f"{found.get('subject')} -> trusted with ids only"
            work.change(f"identity {identity}: {name}", change, partial(work.session.arm.delete, f"{root}/{name}"))
        elif found:
            there[name] = found
    for name, other in there.items():
        work.keep(f"identity {identity}: {name}", f"not of bootstrap: it trusts {other.get('subject')}")


def _credential(work: AzureBootstrapSteps, identity: str, name: str, subject: str, found: Document | None) -> None:
    id_ = f"{work.names.id(IDENTITIES, identity)}/federatedIdentityCredentials/{name}"
    wanted = {"issuer": ISSUER, "subject": subject, "audiences": [_AUDIENCE]}
    what, put = f"identity {identity}: {name}", partial(work.session.arm.put, id_, {"properties": wanted})
    if found is None:
        work.make(what, put)
    elif any(found.get(member) != value for member, value in wanted.items()):
        work.change(what, f"{found.get('subject')} -> {subject}", put)
    else:
        work.there(what)


def _preview(work: AzureBootstrapSteps, name: str, principal: str, stacks: Sequence[StackPlace]) -> None:
    """Assigns roles to read a stack's resources, its state and secrets, and the manifests of versions: no other data,
    no changes.
    """
    states = _states(work, name, principal, "preview", read_states(), "decrypt")
    take_back(work, name, principal, states)
    for stack in stacks:
        assign(work, name, principal, "Reader", stack.group)
        said = only_what_is_said_of_versions()
        assign(work, name, principal, "Storage Blob Data Reader", stack.group, condition=said)
        _on_key(work, name, principal, stack, "reads signing keys", read_key())


def _deploy(
    work: AzureBootstrapSteps, name: str, principal: str, stacks: Sequence[StackPlace], policy: Document | None
) -> None:
    """Assigns roles to deploy in the stacks' groups, and to assign the kit's roles to the stacks' identities."""
    states = _states(work, name, principal, "deploy", write_states(), "encrypt", "decrypt")
    take_back(work, name, principal, states)
    role = f"{work.names.project} deploy"
    definition = define(work, role, permissions_of(policy)) if policy is not None else ""
    administrator = "Role Based Access Control Administrator"
    for stack in stacks:
        if policy is not None:
            assign(work, name, principal, role, stack.group, definition=definition)
        else:
            assign(work, name, principal, "Contributor", stack.group)
            assign(work, name, principal, "Storage Blob Data Contributor", stack.group)
        _on_key(work, name, principal, stack, "reads signing keys", read_key())
        own = only_the_stacks_own(stack.principals.values())
        assign(work, name, principal, administrator, stack.group, condition=own)


def _promote(work: AzureBootstrapSteps, name: str, principal: str, stacks: Sequence[StackPlace]) -> None:
    """Assigns roles to collect runs, and to sign and promote versions, but not to deploy."""
    states = _states(work, name, principal, "preview", read_states(), "decrypt")
    take_back(work, name, principal, states)
    role = f"{work.names.project} promote"
    definition = define(work, role, promoting())
    for stack in stacks:
        assign(work, name, principal, role, stack.group, definition=definition)
        _on_key(work, name, principal, stack, "signs", sign())


def _states(work: AzureBootstrapSteps, name: str, principal: str, kind: str, blobs: Document, *uses: str) -> list[str]:
    """Assigns roles on the state's container and on its key, and returns those on the subscription, by name."""
    names, project = work.names, work.names.project
    for role, wanted, scope in (
        (f"{project} {kind} of states", blobs, names.container_id),
        (f"{project} {kind} of secrets", use_states_key(*uses), names.key_id),
        (f"{project} looks around", look_around(), names.scope),
    ):
        assign(work, name, principal, role, scope, definition=define(work, role, wanted))
    return [f"{project} looks around"]


def _on_key(
    work: AzureBootstrapSteps, name: str, principal: str, stack: StackPlace, what: str, wanted: Document
) -> None:
    role = f"{work.names.project} {what}"
    assign(work, name, principal, role, stack.key_id, definition=define(work, role, wanted))


def permissions_of(policy: Document) -> Document:
    """Returns the permissions of a role definition in the format of `az role definition`, without those that a deploy
    identity never gets: assigning roles (another role allows that under a condition), writing role definitions, and
    signing, which belongs to promotion. They are recognized by their full names, not by patterns such as `*`.
    """
    members = {name[:1].lower() + name[1:]: value for name, value in policy.items()}
    kept = {
        part: [action for action in members.get(part) or [] if not action.lower().startswith(_NEVER)]
        for part in ("actions", "dataActions")
    }
    return {**members, **kept}


def promoting() -> Document:
    """Returns the permissions for collecting and promoting in a stack's group, without signing."""
    ml, blobs = "Microsoft.MachineLearningServices/workspaces", "Microsoft.Storage/storageAccounts/blobServices"
    return {
        "actions": [
            f"{ml}/{what}/read"
            for what in (
                "jobs",
                "onlineEndpoints",
                "onlineEndpoints/deployments",
                "experiments/runs",
                "models/versions",
            )
        ]
        + [f"{ml}/read", f"{blobs}/containers/read", "Microsoft.ContainerRegistry/registries/read"],
        "dataActions": [f"{blobs}/containers/blobs/{verb}" for verb in ("read", "write", "add/action")],
    }
