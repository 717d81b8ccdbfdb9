"""Identities for GitHub Actions, which has no secret of the tenant: GitHub's token says which repository asks.

https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust-user-assigned-managed-identity
"""

import re
from typing import Any

from contract.errors import KitError
from llmops.platforms.azure.bootstrap import IDENTITIES, IDENTITY_API, TAGS, Work
from llmops.platforms.azure.bootstrap_roles import (
    assign,
    define,
    only_the_kits_roles,
    only_what_is_said_of_versions,
    preview_data,
)

ISSUER = "https://token.actions.githubusercontent.com"
_AUDIENCE = "api://AzureADTokenExchange"
_GIVES_ROLES = ("microsoft.authorization/roleassignments/write", "microsoft.authorization/roleassignments/delete")
Document = dict[str, Any]


def github_identities(
    work: Work, location: str, repository: str, branch: str, policy: Document | None
) -> dict[str, str]:
    """Both identities, who may be them, and their roles.

    Returns:
        preview and deploy -> client id; empty where it was only looked.

    Raises:
        KitError: `repository` is no OWNER/REPO; or `policy` has more than one block of permissions.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+", repository):
        raise KitError(f"{repository!r} is no repository", where="--github", fix="write OWNER/REPO")
    main = f"repo:{repository}:ref:refs/heads/{branch}"
    # What runs nightly, to find drift, is a workflow of the branch, and only reads.
    subjects = {
        "preview": {"pull-requests": f"repo:{repository}:pull_request", "branch": main},
        "deploy": {"branch": main},
    }
    found = {}
    for kind, allowed in subjects.items():
        name = work.names.identity(kind, repository)
        found[kind] = _identity(work, location, name)
        _trust(work, name, allowed)
    _preview(work, work.names.identity("preview", repository), found["preview"].get("principalId", ""))
    _deploy(work, work.names.identity("deploy", repository), found["deploy"].get("principalId", ""), policy)
    return {kind: str(each.get("clientId", "")) for kind, each in found.items()}


def _identity(work: Work, location: str, name: str) -> Document:
    arm, id_ = work.clients.arm, work.names.id(IDENTITIES, name)
    what = f"identity {name}"
    found = arm.find(id_, IDENTITY_API)
    if found is not None:
        work.there(what)
        return found["properties"]
    made: list[Document] = []
    body = {"location": location, "tags": TAGS}
    work.make(what, lambda: made.append(arm.put(id_, body, IDENTITY_API)))
    return made[0]["properties"] if made else {}


def _trust(work: Work, identity: str, subjects: dict[str, str]) -> None:
    """One after the other: Azure takes one change of an identity's credentials at a time."""
    arm = work.clients.arm
    root = f"{work.names.id(IDENTITIES, identity)}/federatedIdentityCredentials"
    there = {each["name"]: each["properties"] for each in arm.list(root, IDENTITY_API)}
    for name, subject in subjects.items():
        wanted = {"issuer": ISSUER, "subject": subject, "audiences": [_AUDIENCE]}
        what, found = f"identity {identity}: {name}", there.pop(name, None)

        def put(name: str = name, wanted: Document = wanted) -> object:
            return arm.put(f"{root}/{name}", {"properties": wanted}, IDENTITY_API)

        if found is None:
            work.make(what, put)
        elif any(found.get(member) != value for member, value in wanted.items()):
            work.change(what, f"{found.get('subject')} -> {subject}", put)
        else:
            work.there(what)
    for name, other in there.items():
        work.keep(f"identity {identity}: {name}", f"somebody else let {other.get('subject')} be it")


def _preview(work: Work, name: str, principal: str) -> None:
    """It reads how resources are, the state, and what stores say of versions. No data, and it changes nothing."""
    names = work.names
    assign(work, name, principal, "Reader", names.scope)
    role = f"{names.project} preview of states"
    own = define(work, role, preview_data())
    for scope in (names.account_id, names.vault_id):
        assign(work, name, principal, role, scope, definition=own)
    said = only_what_is_said_of_versions()
    assign(work, name, principal, "Storage Blob Data Reader", names.scope, condition=said)


def _deploy(work: Work, name: str, principal: str, policy: Document | None) -> None:
    """What deploying takes, and of roles to give none but the kit's."""
    names = work.names
    if policy is None:
        assign(work, name, principal, "Contributor", names.scope)
        assign(work, name, principal, "Storage Blob Data Contributor", names.scope)
        assign(work, name, principal, "Key Vault Crypto User", names.scope)
    else:
        role = f"{names.project} deploy"
        assign(work, name, principal, role, names.scope, definition=define(work, role, permissions_of(policy)))
        assign(work, name, principal, "Storage Blob Data Contributor", names.account_id)
        assign(work, name, principal, "Key Vault Crypto User", names.vault_id)
    administrator = "Role Based Access Control Administrator"
    assign(work, name, principal, administrator, names.scope, condition=only_the_kits_roles())


def permissions_of(policy: Document) -> Document:
    """The permissions of a role definition as `az role definition` writes one, but for the right to give roles: that
    comes with a condition, by a role of its own.
    """
    members = {name[:1].lower() + name[1:]: value for name, value in policy.items()}
    actions = [a for a in members.get("actions") or [] if a.lower() not in _GIVES_ROLES]
    return {**members, "actions": actions}
