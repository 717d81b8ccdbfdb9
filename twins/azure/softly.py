"""What is deleted and still there: it blocks its name, until it is purged or its days are over.

https://learn.microsoft.com/azure/key-vault/general/soft-delete-overview
https://learn.microsoft.com/azure/machine-learning/concept-soft-delete
"""

import time

from twins.azure.calls import Document
from twins.azure.errors import ArmError
from twins.azure.ids import Id, key
from twins.azure.kinds import Kind
from twins.azure.twin import Twin

_DAY = 86_400


def deleted(twin: Twin) -> dict[str, Document]:
    """Documents that are deleted softly, by their id in lower case; `_deleted` and `_until` are times."""
    return twin.state.setdefault("deleted", {})


def keep(twin: Twin, document: Document) -> None:
    """Keep a document that is about to go, if its kind does."""
    kind = twin.kinds.get(document["type"].lower())
    if kind is None or kind.soft_delete is None or document.pop("_purge", False):
        return
    now = time.time()
    deleted(twin)[key(document["id"])] = {**document, "_deleted": now, "_until": now + kind.soft_delete.days * _DAY}
    twin.changed()


def check_name(twin: Twin, kind: Kind, parsed: Id, body: Document) -> None:
    """Refuse a new resource whose name a deleted one has.

    Raises:
        ArmError: 409.
    """
    soft = kind.soft_delete
    blocking = blocked_by(twin, kind, parsed) if soft else None
    if soft is None or blocking is None or (soft.recover and soft.recover(body)):
        return
    raise ArmError(409, soft.code, soft.message.format(name=parsed.name, id=blocking["id"]))


def blocked_by(twin: Twin, kind: Kind, parsed: Id) -> Document | None:
    """The deleted resource that has this name."""
    for each, document in deleted(twin).items():
        same_type = document["type"].lower() == kind.type.lower()
        globally = kind.soft_delete is not None and kind.soft_delete.globally
        same = document["name"].lower() == parsed.name.lower() if globally else each == key(parsed.text)
        if same_type and same and time.time() < document["_until"]:
            return document
    return None


def purge(twin: Twin, resource_id: str) -> None:
    """Let nothing be left of a deleted resource."""
    deleted(twin).pop(key(resource_id), None)
    twin.changed()
