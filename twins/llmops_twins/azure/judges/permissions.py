"""The judge of role assignments, each of which covers a scope and everything below it.

https://learn.microsoft.com/azure/role-based-access-control/overview#how-azure-rbac-determines-if-a-user-has-access-to-a-resource
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llmops_twins.azure.judges import conditions, roles
from llmops_twins.azure.judges.roles import AzureRole
from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.ids import key
from llmops_twins.azure.twin import NO_ATTRIBUTES, TenantTwin

ASSIGNMENTS = "Microsoft.Authorization/roleAssignments"
DEFINITIONS = "Microsoft.Authorization/roleDefinitions"
WORKS_FROM = "_works_from"
"""Member of an assignment's document: the time (seconds since 1970) from which Azure's services apply it."""
_ATTRIBUTES = ("roleDefinitionId", "principalId", "principalType")


@dataclass(frozen=True)
class Grant:
    """An assignment, prepared for judging: `scope` in lower case, "" for everything."""

    scope: str
    role: AzureRole
    works_from: float
    condition: conditions.Condition | None = None

    def covers(self, scope: str) -> bool:
        """Returns whether the grant covers a scope in lower case."""
        return scope == self.scope or scope.startswith(self.scope + "/")


class RoleJudge:
    """Judges by the twin's assignments and definitions, which are cached until `forget`."""

    def __init__(self, twin: TenantTwin) -> None:
        self._twin = twin
        self._grants: dict[str, list[Grant]] | None = None

    def allows(
        self, object_id: str, action: str, scope: str, data: bool, attributes: Mapping[str, str] = NO_ATTRIBUTES
    ) -> bool:
        """Returns whether an assignment of the principal allows the action on the scope now."""
        now, below = time.time(), key(scope)
        return any(
            grant.works_from <= now
            and grant.covers(below)
            and grant.role.allows(action, data)
            and (grant.condition is None or grant.condition(action, attributes))
            for grant in self._known().get(object_id.lower(), ())
        )

    def forget(self) -> None:
        """Discards the cached grants, after a change of assignments or definitions."""
        self._grants = None

    def _known(self) -> dict[str, list[Grant]]:
        if (found := self._grants) is not None:
            return found
        with self._twin.lock:
            found = read(self._twin.resources.values())
            self._grants = found
        return found


def attributes_of(twin: TenantTwin, call: ArmCall) -> dict[str, str]:
    """Returns attributes of a call that changes a role assignment: role, principal and type of principal, in the
    request and in the existing resource. A type missing in the request stays absent, though Azure would look it up.

    https://learn.microsoft.com/azure/role-based-access-control/conditions-authorization-actions-attributes
    """
    given = (call.body.get("properties") if isinstance(call.body, dict) else None) or {}
    there = (twin.find(call.id) or {}).get("properties", {})
    return assignment_attributes(request=given, resource=there)


def assignment_attributes(*, request: Document, resource: Document) -> dict[str, str]:
    """Returns the condition attributes of an assignment in a request (`request`: its properties) or of an existing one
    (`resource`).
    """
    found = {}
    for source, properties in (("@request", request), ("@resource", resource)):
        for name in _ATTRIBUTES:
            if value := properties.get(name):
                plain = roles.guid_of(str(value)) if name == "roleDefinitionId" else str(value)
                found[f"{source}[{ASSIGNMENTS}:{name}]".lower()] = plain
    return found


def read(documents: Iterable[Document]) -> dict[str, list[Grant]]:
    """Returns the grants of all documents by the principal's id in lower case. An assignment whose role was deleted, or
    whose condition can't be parsed, grants nothing.
    """
    documents = list(documents)
    known = dict(roles.built_in())
    for document in documents:
        if document["type"] == DEFINITIONS:
            known[roles.guid_of(document["id"])] = roles.custom(document)
    found: dict[str, list[Grant]] = {}
    for document in documents:
        if document["type"] != ASSIGNMENTS:
            continue
        properties = document["properties"]
        if role := known.get(roles.guid_of(properties["roleDefinitionId"])):
            condition = _condition(properties.get("condition"))
            works_from = float(document.get(WORKS_FROM, 0))
            grant = Grant(key(properties["scope"]).rstrip("/"), role, works_from, condition)
            found.setdefault(properties["principalId"].lower(), []).append(grant)
    return found


def _condition(written: str | None) -> conditions.Condition | None:
    try:
        return conditions.parse(written) if written else None
    except ValueError:
        return lambda _action, _attributes: False


def grants(documents: Iterable[Document]) -> dict[str, list[dict[str, object]]]:
    """Returns the grants of each principal, by its id: the role's name, the scope, and what the role allows."""
    return {
        principal: [
            {
                "role": grant.role.name,
                "scope": grant.scope,
                "actions": [a for p in grant.role.permissions for a in p.actions],
                "data_actions": [a for p in grant.role.permissions for a in p.data_actions],
            }
            for grant in given
        ]
        for principal, given in read(documents).items()
    }
