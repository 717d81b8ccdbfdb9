"""Common parts of Azure ML's documents: system data, identities, durations, lists.

https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors

Unsure (65 %): that identities must fit their type is documented; FailedIdentityOperation is as in
https://github.com/Azure/azure-cli/issues/31837, and no source was found for InvalidIdentityValues and the messages.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from llmops_twins.azure.entra import principals
from llmops_twins.azure.judges import linked
from llmops_twins.azure.protocol import paging
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, Reply
from llmops_twins.azure.protocol.ids import Id
from llmops_twins.azure.protocol.kinds import RESULT, STATUS
from llmops_twins.azure.twin import TenantTwin

ASSIGN = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
FORMS = {"PUT": STATUS, "PATCH": RESULT, "DELETE": RESULT}
"""Polling headers of operations on endpoints, deployments and schedules, by method. The client in azure-ai-ml
(arm_ml_service, generated from the specification) determines them for each method, and the accepted statuses: 200 and
202 for a workspace's PUT.
"""
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_KINDS = {"user": "User", "application": "Application", "identity": "ManagedIdentity", "twin": "Application"}


def now() -> str:
    """Returns the current time in Azure's format."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def stamp(call: ArmCall, there: Document | None, document: Document) -> Document:
    """Sets systemData: who created and who last changed a document."""
    who, kind, when = call.caller.name, _KINDS[call.caller.kind], now()
    made = {"createdAt": when, "createdBy": who, "createdByType": kind}
    before = (there or {}).get("systemData", made)
    changed = {"lastModifiedAt": when, "lastModifiedBy": who, "lastModifiedByType": kind}
    document["systemData"] = {**before, **changed}
    return document


def seconds(duration: str, target: str) -> float:
    """Returns the seconds of an ISO 8601 duration in days to seconds ("PT1H30M").

    Raises:
        ArmError: 400, it is not such a duration.
    """
    match = _DURATION.fullmatch(duration)
    if not match or not any(match.groups()):
        raise ArmError(400, "ValidationError", f"{duration!r} is not an ISO 8601 duration.", target)
    days, hours, minutes, rest = (float(part or 0) for part in match.groups())
    return days * 86_400 + hours * 3600 + minutes * 60 + rest


def with_identity(twin: TenantTwin, call: ArmCall, body: Document, there: Document | None) -> None:
    """Fills in the principals of a body's identity; a system-assigned one is created, and kept over updates.

    Raises:
        ArmError: 403 if the caller may not assign a user-assigned identity, 400 if it does not exist.
    """
    identity = body.get("identity")
    if not identity or identity["type"] == "None":
        return
    if "UserAssigned" in identity["type"] and not identity.get("userAssignedIdentities"):
        raise ArmError(400, "InvalidIdentityValues", "The request names no user-assigned identity.", "identity")
    given = identity.get("userAssignedIdentities") or {}
    if given and "UserAssigned" not in identity["type"]:
        message = "The identity names user-assigned identities, and its type is not UserAssigned."
        raise ArmError(400, "InvalidIdentityValues", message, "identity")
    before = (((there or {}).get("identity") or {}).get("userAssignedIdentities")) or {}
    filled = {each: _assigned(twin, call, each, each in before) for each, value in given.items() if value is not None}
    if filled:
        identity["userAssignedIdentities"] = filled
    if "SystemAssigned" in identity["type"]:
        old = ((there or {}).get("identity") or {}).get("principalId")
        name = call.id.rpartition("/")[2]
        identity["principalId"] = old or principals.add(twin, name, "identity").object_id
        identity["tenantId"] = twin.tenant


def _assigned(twin: TenantTwin, call: ArmCall, identity_id: str, known: bool) -> Document:
    found = twin.find(identity_id)
    if found is None:
        message = f"The user-assigned identity {identity_id} was not found."
        raise ArmError(400, "FailedIdentityOperation", message, "identity.userAssignedIdentities")
    if not known:
        linked.require(twin, call, Id.parse(call.id).type, ASSIGN, identity_id)
    properties = found["properties"]
    return {"principalId": properties["principalId"], "clientId": properties["clientId"]}


def identities_of(document: Document) -> dict[str, Document]:
    """Returns the user-assigned identities of a document by their ids: principalId, clientId."""
    return (document.get("identity") or {}).get("userAssignedIdentities") or {}


def page(twin: TenantTwin, call: ArmCall, found: Iterable[Document]) -> Reply:
    """Answers a list as Azure ML does: filtered by `chosen`, truncated to `$top` or `count`."""
    kept = chosen(call, found)
    return Reply(200, {"value": [twin.shown(each) for each in kept[: paging.size_of(call) or len(kept)]]})


def chosen(call: ArmCall, found: Iterable[Document]) -> list[Document]:
    """Returns the documents that `listViewType`, `tags` (of jobs: `tag`) and `properties` select, in the order of
    `$orderBy` (of endpoints: `orderBy`), newest first.

    azure-rest-api-specs, Microsoft.MachineLearningServices: ModelVersions_List, Jobs_List, OnlineEndpoints_List
    """
    query = call.query
    view, tags = query.get("listViewType", "ActiveOnly"), query.get("tags") or query.get("tag")
    kept = [
        each
        for each in found
        if _in_view(each, view)
        and _has(each["properties"].get("tags") or each.get("tags"), tags)
        and _has(each["properties"].get("properties"), query.get("properties"))
    ]
    order = (query.get("$orderBy") or query.get("orderBy") or "").lower()
    member = "lastModifiedAt" if "updated" in order or "modified" in order else "createdAt"
    kept.sort(key=lambda each: each["systemData"][member], reverse="asc" not in order)
    return kept


def _in_view(document: Document, view: str) -> bool:
    archived = bool((document.get("properties") or {}).get("isArchived"))
    return view == "All" or archived == (view == "ArchivedOnly")


def _has(members: Mapping[str, str] | None, wanted: str | None) -> bool:
    """Returns whether members contain `wanted`: "name" or "name=value", several separated by commas."""
    known = members or {}
    for part in filter(None, (wanted or "").split(",")):
        name, equals, value = part.partition("=")
        if name not in known or (equals and known[name] != value):
            return False
    return True
