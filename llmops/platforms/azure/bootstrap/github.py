"""Identities for GitHub Actions, which has no secret of the tenant: GitHub's token says which repository asks.

https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust-user-assigned-managed-identity
"""

import re
from collections.abc import Sequence
from typing import Any

from clouds.azure.names import IDENTITIES
from contract.errors import KitError
from llmops.platforms.azure.bootstrap.names import TAGS, AzureBootstrapSteps
from llmops.platforms.azure.bootstrap.roles import (
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
from llmops.platforms.azure.bootstrap.stack import StackPlace, identity
from llmops.platforms.steps import PROMOTE_ENVIRONMENT

ISSUER = "https://token.actions.githubusercontent.com"
_AUDIENCE = "api://AzureADTokenExchange"
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
    repository: str,
    branch: str,
    stacks: Sequence[StackPlace],
    policy: Document | None,
) -> dict[str, str]:
    """Creates the workflows' identities, the federated credentials that trust them, and their roles.

    Returns:
        preview, deploy and promote -> client id; empty where it was only looked.

    Raises:
        KitError: `repository` is no OWNER/REPO; or no stack is named.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+", repository):
        raise KitError(f"{repository!r} is no repository", where="--github", fix="write OWNER/REPO")
    if not stacks:
        raise KitError(
            "which stacks may the workflows deploy? An identity has its rights in the stacks' resource groups alone",
            where="--for",
            fix="add `--for STACK`, once for each of them",
        )
    main = f"repo:{repository}:ref:refs/heads/{branch}"
    # What runs nightly, to find drift, is a workflow of the branch, and only reads.
    subjects = {
        "preview": {"pull-requests": f"repo:{repository}:pull_request", "branch": main},
        "deploy": {"branch": main},
        "promote": {"environment": f"repo:{repository}:environment:{PROMOTE_ENVIRONMENT}"},
    }
    found = {}
    for kind, allowed in subjects.items():
        name = work.names.identity(kind, repository)
        found[kind] = identity(work, location, work.names.id(IDENTITIES, name), TAGS)
        _trust(work, name, allowed)
    preview, deploy, promote = (
        (work.names.identity(kind, repository), str(found[kind].get("principalId", ""))) for kind in subjects
    )
    _preview(work, *preview, stacks)
    _deploy(work, *deploy, stacks, policy)
    _promote(work, *promote, stacks)
    return {kind: str(each.get("clientId", "")) for kind, each in found.items()}


def _trust(work: AzureBootstrapSteps, identity: str, subjects: dict[str, str]) -> None:
    """Writes an identity's federated credentials, one at a time: Azure refuses concurrent changes of them."""
    arm = work.session.arm
    root = f"{work.names.id(IDENTITIES, identity)}/federatedIdentityCredentials"
    there = {each["name"]: each["properties"] for each in arm.list(root)}
    for name, subject in subjects.items():
        wanted = {"issuer": ISSUER, "subject": subject, "audiences": [_AUDIENCE]}
        what, found = f"identity {identity}: {name}", there.pop(name, None)

        def put(name: str = name, wanted: Document = wanted) -> object:
            return arm.put(f"{root}/{name}", {"properties": wanted})

        if found is None:
            work.make(what, put)
        elif any(found.get(member) != value for member, value in wanted.items()):
            work.change(what, f"{found.get('subject')} -> {subject}", put)
        else:
            work.there(what)
    for name, other in there.items():
        work.keep(f"identity {identity}: {name}", f"somebody else let {other.get('subject')} be it")


def _preview(work: AzureBootstrapSteps, name: str, principal: str, stacks: Sequence[StackPlace]) -> None:
    """Assigns roles to read a stack's resources, the state, and what stores say of versions. No data, no changes."""
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
    """Assigns roles to deploy in the groups of the stacks, and to give their own identities the kit's roles."""
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
    """Assigns roles to collect runs, sign what they made, and promote it, but not to deploy."""
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
    """Returns the permissions of a role definition as `az role definition` writes one, without what a deploy identity
    never has: giving roles (which comes with a condition, by a role of its own), writing roles, and signing, which
    promotes.
    """
    members = {name[:1].lower() + name[1:]: value for name, value in policy.items()}
    kept = {
        part: [action for action in members.get(part) or [] if not action.lower().startswith(_NEVER)]
        for part in ("actions", "dataActions")
    }
    return {**members, **kept}


def promoting() -> Document:
    """Returns what collecting and promoting need in a stack's group, beside the signature."""
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
