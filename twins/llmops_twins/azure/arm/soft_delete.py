"""Softly deleted resources, which block their names until they are purged or expire.

https://learn.microsoft.com/azure/key-vault/general/soft-delete-overview
https://learn.microsoft.com/azure/machine-learning/concept-soft-delete
"""

import time

from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.protocol.ids import Id, key
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

_DAY = 86_400


def deleted(twin: TenantTwin) -> dict[str, Document]:
    """Returns soft-deleted documents by id in lower case; `_deleted` and `_until` are times."""
    return twin.state.setdefault("deleted", {})


def keep(twin: TenantTwin, document: Document) -> None:
    """Keeps a document that is being deleted, with its children, if its kind has soft deletion."""
    kind = twin.kinds.get(document["type"].lower())
    if kind is None or kind.soft_delete is None or document.pop("_purge", False):
        return
    now = time.time()
    inside = [dict(each) for each in twin.children(document["id"])]
    deleted(twin)[key(document["id"])] = {
        **document,
        "_deleted": now,
        "_until": now + kind.soft_delete.days * _DAY,
        "_inside": inside,
    }
    twin.changed()


def remove(twin: TenantTwin, resource_id: str) -> None:
    """Deletes a resource with its children, softly where their kinds have soft deletion."""
    document = twin.find(resource_id)
    if document is None:
        return
    for each in [document, *twin.children(resource_id)]:
        keep(twin, each)
    twin.drop(resource_id)


def recovered(twin: TenantTwin, kind: ResourceKind, parsed: Id, body: Document) -> Document | None:
    """Returns the deleted document that a PUT recovers, removing it from the deleted ones; None if the name is free, or
    the kind's own `put` recovers it.

    Raises:
        ArmError: 409, a deleted resource blocks the name.
    """
    soft = kind.soft_delete
    blocking = blocked_by(twin, kind, parsed) if soft else None
    if soft is None or blocking is None:
        return None
    if soft.recover and soft.recover(body):
        return _brought_back(twin, blocking) if soft.restores and key(blocking["id"]) == key(parsed.text) else None
    raise ArmError(409, soft.code, soft.message.format(name=parsed.name, id=blocking["id"]))


def _brought_back(twin: TenantTwin, blocking: Document) -> Document:
    found = deleted(twin).pop(key(blocking["id"]))
    for document in found.pop("_inside"):
        twin.keep(document)
    return {name: value for name, value in found.items() if name not in ("_deleted", "_until")}


def blocked_by(twin: TenantTwin, kind: ResourceKind, parsed: Id) -> Document | None:
    """Returns the deleted resource that blocks this name."""
    for each, document in deleted(twin).items():
        same_type = document["type"].lower() == kind.type.lower()
        globally = kind.soft_delete is not None and kind.soft_delete.globally
        same = document["name"].lower() == parsed.name.lower() if globally else each == key(parsed.text)
        if same_type and same and time.time() < document["_until"]:
            return document
    return None


def purge(twin: TenantTwin, resource_id: str) -> None:
    """Deletes a soft-deleted resource for good."""
    deleted(twin).pop(key(resource_id), None)
    twin.changed()
