"""Azure Resource Manager's rules that are the same for every type: routing of calls, and the lifecycle of resources.

https://learn.microsoft.com/azure/azure-resource-manager/management/
"""

import copy
import re
import time
from typing import Any

from llmops_twins.azure import faults
from llmops_twins.azure.arm import checks, operations, providers, soft_delete
from llmops_twins.azure.arm.checks import kind_of
from llmops_twins.azure.judges import linked, permissions
from llmops_twins.azure.protocol import paging
from llmops_twins.azure.protocol.arm_errors import ArmError, not_found
from llmops_twins.azure.protocol.calls import TWIN, ArmCall, Document, Principal, Reply, timestamp
from llmops_twins.azure.protocol.ids import RESOURCE_GROUPS, Id, key, spelled
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

_OPERATION = re.compile(
    r"/subscriptions/[^/]+/providers/[^/]+/locations/[^/]+/(operationStatuses|operationResults)/([^/]+)", re.I
)
CREATED = "_created"
"""Member of a document: its creation time, in Azure's format."""
_VERBS = {"GET": "read", "HEAD": "read", "DELETE": "delete"}


def respond(twin: TenantTwin, call: ArmCall) -> Reply:
    """Answers a call of an authenticated caller; with the lock held.

    Raises:
        ArmError: the call is refused.
    """
    if not call.api_version:
        raise ArmError(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    if found := _OPERATION.fullmatch(call.path):
        if found[1].lower() == "operationstatuses":
            return operations.status(twin, call.path, found[2])
        return operations.result(twin, found[2])
    call.path = spelled(call.path, (kind.type for kind in twin.kinds.values()))
    parsed = Id.parse(call.path)
    checks.check_subscription(twin, parsed)
    call.id = parsed.resource
    permission = permission_of(twin, call)
    faults.meet(twin, **faults.subject_of(permission))
    faults.forbid(twin, permission, parsed.name)
    if answered := providers.respond(twin, call, parsed):
        return answered
    if parsed.tail:
        return _tail(twin, call, parsed)
    return _resource(twin, call, parsed)


def permission_of(twin: TenantTwin, call: ArmCall) -> str:
    """Returns the approximate action of a call, for matching faults."""
    parsed = Id.parse(call.path)
    if parsed.tail:
        found = twin.verb(parsed.type, parsed.tail, call.method)
        return (found and found[1]) or f"{parsed.listed_type}/{'read' if call.method == 'GET' else 'action'}"
    return f"{parsed.type}/{_VERBS.get(call.method, 'write')}"


def _action(kind: ResourceKind, verb: str) -> str:
    """Returns the permission that a call needs; permissions on resource groups are not named after their type.

    https://learn.microsoft.com/azure/role-based-access-control/permissions/management-and-governance
    """
    type_ = "Microsoft.Resources/subscriptions/resourceGroups" if kind.type == RESOURCE_GROUPS else kind.type
    return f"{type_}/{verb}"


def put(twin: TenantTwin, resource_id: str, body: Document, caller: Principal = TWIN) -> Document:
    """Puts a resource internally, as the platform or as `caller`, and returns its document.

    Raises:
        ArmError: the call is refused, as it would be for a client.
    """
    version = twin.kinds[Id.parse(resource_id).type.lower()].versions[0]
    call = ArmCall("PUT", resource_id, {"api-version": version}, {}, body, caller, version, resource_id, twin.url)
    with twin.lock:
        respond(twin, call)
        return twin.resources[key(resource_id)]


def _tail(twin: TenantTwin, call: ArmCall, parsed: Id) -> Reply:
    """Answers a resource's action, or a request for a collection."""
    found = twin.verb(parsed.type, parsed.tail, call.method)
    if found is None:
        if call.method != "GET":
            raise ArmError(404, "InvalidResourceType", f"There is no {call.method} {call.path} on this twin of Azure.")
        return _listed(twin, call, parsed)
    handler, permission = found
    if permission is not None:
        twin.require(call, permission, parsed.resource or parsed.scope)
    document = twin.find(parsed.resource)
    if twin.kinds.get(parsed.type.lower()):
        kind_of(twin, call, parsed.type)
        checks.check_parents(twin, parsed, verb="read")
        if document is None:
            raise not_found(parsed.resource)
    for judge in twin.judges:
        judge(call, parsed)
    answered = handler(twin, call, document)
    if isinstance(answered, Reply):
        return paging.page(call, answered)
    return paging.page(call, Reply(200, answered))


def _listed(twin: TenantTwin, call: ArmCall, parsed: Id) -> Reply:
    type_ = RESOURCE_GROUPS if parsed.tail.lower() == "resourcegroups" and not parsed.group else parsed.listed_type
    kind = kind_of(twin, call, type_)
    scope = parsed.resource if parsed.names else parsed.scope
    twin.require(call, _action(kind, "read"), scope)
    checks.check_parents(twin, parsed, verb="read", of_collection=True)
    found = twin.children(scope, kind.type)
    if "resource" in kind.scopes and not parsed.names:
        found = [d for d in found if Id.parse(d["id"]).scope.lower() == scope.lower()]
    if kind.listed:
        found = kind.listed(call, found)
    return paging.page(call, Reply(200, {"value": [twin.shown(document) for document in found]}))


def _resource(twin: TenantTwin, call: ArmCall, parsed: Id) -> Reply:
    kind = kind_of(twin, call, parsed.type)
    verb = _VERBS.get(call.method, "write")
    attributes = permissions.attributes_of(twin, call) if kind.type == permissions.ASSIGNMENTS else {}
    twin.require(call, _action(kind, verb), parsed.text, attributes=attributes)
    if verb == "write":
        providers.require_registered(twin, parsed.namespace)
    checks.check_parents(twin, parsed, verb=verb)
    for judge in twin.judges:
        judge(call, parsed)
    there = twin.find(parsed.text) or (kind.given(twin, parsed) if kind.given else None)
    if call.method in ("GET", "HEAD"):
        if there is None or faults.unseen(twin, call):
            raise _missing(parsed)
        return Reply(200, twin.shown(there)) if call.method == "GET" else Reply(204)
    if call.method == "DELETE":
        return _delete(twin, call, kind, there)
    if call.method == "PATCH":
        return _patch(twin, call, kind, there)
    if call.method == "PUT":
        return _put(twin, call, kind, there, "PUT")
    raise _not_allowed(call)


def _missing(parsed: Id) -> ArmError:
    if parsed.type == RESOURCE_GROUPS:
        return ArmError(404, "ResourceGroupNotFound", f"Resource group '{parsed.group}' could not be found.")
    return not_found(parsed.text)


def _not_allowed(call: ArmCall) -> ArmError:
    return ArmError(405, "MethodNotAllowed", f"The request with method {call.method} is not allowed on {call.path}.")


def _patch(twin: TenantTwin, call: ArmCall, kind: ResourceKind, there: Document | None) -> Reply:
    if not kind.patch:
        raise _not_allowed(call)
    if there is None:
        raise _missing(Id.parse(call.id))
    shown_now = {name: value for name, value in there.items() if not name.startswith("_")}
    given = _object(call)
    call.body = merged(shown_now, given)
    if isinstance(given.get("tags"), dict):  # tags are replaced as a whole
        call.body["tags"] = {name: value for name, value in given["tags"].items() if value is not None}
    return _put(twin, call, kind, there, "PATCH")


def merged(document: Any, change: Any) -> Any:
    """Returns a document with a JSON merge patch (RFC 7396) applied: null removes a member."""
    if not isinstance(change, dict) or not isinstance(document, dict):
        return copy.deepcopy(change)
    result = dict(document)
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _put(twin: TenantTwin, call: ArmCall, kind: ResourceKind, there: Document | None, what: str) -> Reply:
    parsed = Id.parse(call.id)
    body = _object(call)
    linked.check(twin, call, kind.type, body)
    checks.check_scope(kind, parsed)
    checks.check_name(kind, parsed)
    checks.check_idle(twin, kind, call.id)
    checks.check_tags(kind, body)
    if kind.location:
        checks.check_location(kind, parsed, body, there)
    before = there or soft_delete.recovered(twin, kind, parsed, body)
    made = kind.put(twin, call, before) if kind.put else _kept(body)
    document = _completed(kind, parsed, made, before)
    at_once = there is not None and kind.change_seconds is not None
    asynchronous = not at_once and (kind.open_ended or kind.seconds > 0)
    if kind.provisioning:
        state = "Succeeded" if not asynchronous else kind.creating if there is None else "Updating"
        document.setdefault("properties", {})["provisioningState"] = state
    seconds = twin.scaled(kind.change_seconds or 0.0) if at_once else 0.0
    document.setdefault(CREATED, timestamp())
    if seconds:
        document[checks.BUSY_UNTIL] = time.time() + seconds
    twin.keep(document)
    if there is None:
        faults.hide(twin, permission_of(twin, call), call.id)
    headers: dict[str, str] = {}
    if asynchronous:
        operation = operations.begin(twin, call, None if kind.open_ended else kind.seconds, what)
        headers = operations.headers(twin, operation)
    if kind.begun:
        kind.begun(twin, document)
    if not asynchronous and kind.done:
        kind.done(twin, document)
    if asynchronous and call.method in kind.accepted:
        return Reply(202, None, headers)
    return Reply(kind.codes[0] if there is None else kind.codes[1], twin.shown(document), headers, seconds)


def _kept(body: Document) -> Document:
    return {name: copy.deepcopy(value) for name, value in body.items() if not name.startswith("_")}


def _completed(kind: ResourceKind, parsed: Id, made: Document, there: Document | None) -> Document:
    """Returns a document that begins with id, name and type, in their original spelling."""
    document: Document = {"id": parsed.text, "name": parsed.name, "type": kind.type}
    document |= {name: value for name, value in made.items() if name not in document}
    if there:
        document |= {name: there[name] for name in ("id", "name", "location") if name in there}
        document |= {name: value for name, value in there.items() if name.startswith("_") and name not in document}
    return document


def _delete(twin: TenantTwin, call: ArmCall, kind: ResourceKind, there: Document | None) -> Reply:
    parameter = kind.soft_delete.purge if kind.soft_delete else ""
    purge = bool(parameter) and call.query.get(parameter, "").lower() == "true"
    if there is None:
        if kind.type == RESOURCE_GROUPS:
            raise _missing(Id.parse(call.id))
        if purge:
            soft_delete.purge(twin, call.id)
        return Reply(204)
    checks.check_idle(twin, kind, call.id)
    if kind.deleting:
        kind.deleting(twin, call, there)
    if purge:
        there["_purge"] = True
    seconds = kind.seconds if kind.delete_seconds is None else kind.delete_seconds
    if not seconds:
        soft_delete.remove(twin, call.id)
        return Reply(200, twin.shown(there) if kind.delete_shows else None)
    operations.set_state(there, "Deleting")
    operation = operations.begin(twin, call, seconds, "DELETE")
    return Reply(202, None, operations.headers(twin, operation))


def _object(call: ArmCall) -> Document:
    if not isinstance(call.body, dict):
        raise ArmError(400, "InvalidRequestContent", "The request content was invalid and could not be deserialized.")
    return call.body
