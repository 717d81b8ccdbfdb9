"""Creates a stack's resources that require rights on the whole subscription: its resource group, its identities,
and the key that signs its versions.

The program gets their ids (`llmops:azure`). The deployer then has roles in that group only, assigns roles to those
identities only, and can't sign: the key is in the vault of the states.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llmops_kit.cli.platforms.azure.bootstrap.names import TAGS, AzureBootstrapSteps
from llmops_kit.cli.platforms.azure.bootstrap.roles import assign, define, sign
from llmops_kit.clouds.account_names import named_after
from llmops_kit.clouds.azure.names import IDENTITIES
from llmops_kit.core.errors import KitError
from llmops_kit.core.tags import FOR_TAG, made_for

_NAMED = ("training", "endpoint", "workspace")
_PEOPLE = ("AcrPush", "AzureML Data Scientist", "Log Analytics Reader", "Storage Blob Data Contributor")
"""Roles of a stack's users in its group."""
_OPERATOR = re.compile(r"(?:(User|Group|ServicePrincipal):)?([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")
Document = dict[str, Any]


@dataclass(frozen=True)
class StackPlace:
    """Resource ids of a stack's foundations."""

    stack: str
    group: str
    key_id: str
    signing_key: str
    """URL of the key with its version; empty in a dry run."""
    identities: dict[str, str]
    principals: dict[str, str] = field(repr=False)
    """The same keys -> object id; empty in a dry run."""

    @property
    def settings(self) -> Document:
        """Members of `llmops:azure` in the stack's file."""
        return {"resource_group": self.group, "signing_key": self.signing_key, "identities": self.identities}


def stack_place(work: AzureBootstrapSteps, stack: str, location: str, operators: Sequence[str]) -> StackPlace:
    """Creates missing resources, and assigns the stack's roles to the caller and the operators.

    Args:
        work: of bootstrap.
        stack: its name.
        location: of new resources.
        operators: `[KIND:]OBJECT_ID` of its other users.

    Raises:
        KitError: the group belongs to somebody else; or an operator is malformed.
    """
    people = [_operator(each) for each in operators]
    names = work.names
    tags = {**TAGS, **made_for(names.project, stack)}
    group = f"{names.scope}/resourceGroups/{named_after(names.project, stack, 'group', 90)}"
    _group(work, group, location, tags)
    ids = {each: f"{group}/providers/{IDENTITIES}/{named_after(names.project, stack, each)}" for each in _NAMED}
    found = {each: identity(work, location, id_, tags) for each, id_ in ids.items()}
    key_id = f"{names.vault_id}/keys/{named_after(names.project, stack, 'signing')}"
    url = _signing_key(work, key_id, tags)
    caller = work.session.caller
    you = ("you", caller.object_id, caller.kind)
    role = f"{names.project} signs"
    definition = define(work, role, sign())
    for who, principal, kind in (you, *((f"operator {id_}", id_, kind) for kind, id_ in people)):
        for each in _PEOPLE:
            assign(work, who, principal, each, group, kind)
        assign(work, who, principal, role, key_id, kind, definition=definition)
    principals = {each: str(p["principalId"]) for each, p in found.items() if p}
    return StackPlace(stack, group, key_id, url, ids, principals)


def identity(work: AzureBootstrapSteps, location: str, id_: str, tags: Document) -> Document:
    """Creates a user-assigned identity if missing; returns its properties, {} in a dry run that finds none."""
    found = work.provide(f"identity {id_.rpartition('/')[2]}", id_, {"location": location, "tags": tags})
    return found.get("properties", {})


def _group(work: AzureBootstrapSteps, id_: str, location: str, tags: Document) -> None:
    arm, what = work.session.arm, f"resource group {id_.rpartition('/')[2]}"
    found = arm.find(id_)
    if found is None:
        work.make(what, lambda: arm.put(id_, {"location": location, "tags": tags}))
    elif (found.get("tags") or {}).get(FOR_TAG) == tags[FOR_TAG]:
        work.there(what)
    else:
        raise KitError(
            "the group exists, and bootstrap did not create it for this stack",
            where=id_,
            fix="a stack that created its group keeps it, and its owner deploys it; for CI, bootstrap a new stack",
        )


def _signing_key(work: AzureBootstrapSteps, id_: str, tags: Document) -> str:
    """Returns the key's URL with its current version; a key is never replaced."""
    attributes = {"enabled": True, "exportable": False}
    properties = {"kty": "EC", "curveName": "P-256", "keyOps": ["sign", "verify"], "attributes": attributes}
    what = f"key {id_.rpartition('/')[2]} in vault {work.names.vault}"
    found = work.provide(what, id_, {"properties": properties, "tags": tags})
    return str(found.get("properties", {}).get("keyUriWithVersion", ""))


def _operator(text: str) -> tuple[str, str]:
    """Parses an operator into kind and object id."""
    match = _OPERATOR.fullmatch(text)
    if not match:
        raise KitError(
            f"{text!r} is not an operator",
            where="--operator",
            fix="write the object id, with `Group:` or `ServicePrincipal:` before it if it is not a user's",
        )
    return match[1] or "User", match[2].lower()
