"""Azure Resource Manager's own rules, the same for every kind: versions, scopes, parents, names, states, deletions.

https://learn.microsoft.com/azure/azure-resource-manager/management/
"""

import copy
import re
import uuid
from typing import Any

from twins.azure import operations, softly
from twins.azure.calls import Call, Caller, Document, Reply
from twins.azure.errors import ArmError, not_found
from twins.azure.ids import RESOURCE_GROUPS, Id, key
from twins.azure.kinds import Kind
from twins.azure.twin import Twin

_OPERATION = re.compile(
    r"/subscriptions/[^/]+/providers/[^/]+/locations/[^/]+/(operationStatuses|operationResults)/([^/]+)", re.I
)


def respond(twin: Twin, call: Call) -> Reply:
    """Answer a call of a known caller; the lock is held.

    Raises:
        ArmError: it is refused.
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
    parsed = Id.parse(call.path)
    _check_subscription(twin, parsed)
    if parsed.tail:
        return _tail(twin, call, parsed)
    return _resource(twin, call, parsed)


def put_inside(twin: Twin, resource_id: str, body: Document, api_version: str, caller: Caller) -> Document:
    """PUT from inside (`Twin.put`)."""
    call = Call("PUT", resource_id, {"api-version": api_version}, {}, body, caller, api_version, resource_id, twin.url)
    with twin.lock:
        respond(twin, call)
        document = twin.find(resource_id)
    assert document is not None
    return document


def remove(twin: Twin, resource_id: str) -> None:
    """Let a resource go, with what lies in it; some stay for a time, deleted softly."""
    document = twin.find(resource_id)
    if document is None:
        return
    for each in [document, *twin.children(resource_id)]:
        softly.keep(twin, each)
    twin.drop(resource_id)


def shown(twin: Twin, document: Document) -> Document:
    """What GET answers."""
    kind = twin.kinds.get(document["type"].lower())
    public = {name: value for name, value in document.items() if not name.startswith("_")}
    return kind.show(twin, copy.deepcopy(public)) if kind and kind.show else public


def kind_of(twin: Twin, call: Call, type_: str) -> Kind:
    """The kind of a type, if it takes the call's api-version.

    Raises:
        ArmError: 404 InvalidResourceType, 400 NoRegisteredProviderFound.
    """
    namespace, _, rest = type_.partition("/")
    kind = twin.kinds.get(type_.lower())
    if kind is None:
        if not any(each.startswith(namespace.lower() + "/") for each in twin.kinds):
            message = f"The resource namespace '{namespace}' is invalid."
            raise ArmError(404, "InvalidResourceNamespace", message)
        message = (
            f"The resource type '{rest}' could not be found in the namespace '{namespace}' for api version "
            f"'{call.api_version}'."
        )
        raise ArmError(404, "InvalidResourceType", message)
    if call.api_version not in kind.versions:
        raise ArmError(
            400,
            "NoRegisteredProviderFound",
            f"No registered resource provider found for location '{_location(call)}' and API version "
            f"'{call.api_version}' for type '{rest}'. The supported api-versions are '{', '.join(kind.versions)}'.",
        )
    return kind


def _location(call: Call) -> str:
    return str(call.body.get("location", "global")) if isinstance(call.body, dict) else "global"


def _check_subscription(twin: Twin, parsed: Id) -> None:
    if parsed.subscription and parsed.subscription.lower() != twin.subscription.lower():
        raise ArmError(404, "SubscriptionNotFound", f"The subscription '{parsed.subscription}' could not be found.")


def _tail(twin: Twin, call: Call, parsed: Id) -> Reply:
    """A collection, or an action of a resource."""
    call.id = parsed.resource
    if found := twin.verb(parsed.type, parsed.tail, call.method):
        handler, permission = found
        kind = twin.kinds.get(parsed.type.lower())
        document = twin.find(parsed.resource)
        twin.require(call, permission, parsed.resource)
        if kind:
            kind_of(twin, call, parsed.type)
            _check_parents(twin, parsed, of_collection=False)
            if document is None:
                raise not_found(parsed.resource)
        for judge in twin.judges:
            judge(call, parsed)
        answered = handler(twin, call, document)
        return answered if isinstance(answered, Reply) else Reply(200, answered)
    if call.method != "GET":
        raise ArmError(404, "InvalidResourceType", f"There is no {call.method} {call.path} on this twin of Azure.")
    return _listed(twin, call, parsed)


def _listed(twin: Twin, call: Call, parsed: Id) -> Reply:
    type_ = RESOURCE_GROUPS if parsed.tail.lower() == "resourcegroups" and not parsed.group else parsed.listed_type
    kind = kind_of(twin, call, type_)
    scope = parsed.resource if parsed.names else parsed.scope
    twin.require(call, f"{kind.type}/read", scope)
    _check_parents(twin, parsed, of_collection=True)
    found = twin.children(scope, kind.type)
    return Reply(200, {"value": [shown(twin, document) for document in found]})


def _resource(twin: Twin, call: Call, parsed: Id) -> Reply:
    call.id = parsed.text
    kind = kind_of(twin, call, parsed.type)
    verb = "read" if call.method in ("GET", "HEAD") else "delete" if call.method == "DELETE" else "write"
    twin.require(call, f"{kind.type}/{verb}", parsed.text)
    _check_parents(twin, parsed, of_collection=False)
    for judge in twin.judges:
        judge(call, parsed)
    there = twin.find(parsed.text)
    if call.method in ("GET", "HEAD"):
        if there is None:
            raise not_found(parsed.text)
        return Reply(200 if call.method == "GET" else 204, shown(twin, there) if call.method == "GET" else None)
    if call.method == "DELETE":
        return _delete(twin, call, kind, there)
    if call.method == "PATCH":
        return _patch(twin, call, kind, there)
    if call.method == "PUT":
        return _put(twin, call, kind, there, "PUT")
    raise _not_allowed(call)


def _not_allowed(call: Call) -> ArmError:
    return ArmError(405, "MethodNotAllowed", f"The request with method {call.method} is not allowed on {call.path}.")


def _check_parents(twin: Twin, parsed: Id, *, of_collection: bool) -> None:
    if parsed.group and parsed.type != RESOURCE_GROUPS:
        group = f"/subscriptions/{parsed.subscription}/resourceGroups/{parsed.group}"
        if twin.find(group) is None:
            raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{parsed.group}' could not be found.")
    if parsed.scope and "/providers/" in parsed.scope.lower() and twin.find(parsed.scope) is None:
        raise not_found(parsed.scope)
    types = parsed.type.split("/")
    segments = parsed.resource.split("/")
    depth = len(parsed.names) if of_collection else len(parsed.names) - 1
    for level in range(1, depth + 1):
        above = len(parsed.names) - level
        parent = "/".join(segments[: len(segments) - 2 * above])
        type_ = "/".join(types[: level + 1])
        kind = twin.kinds.get(type_.lower())
        there = kind is None or kind.implicit or parsed.names[level - 1] in kind.singletons
        if not there and twin.find(parent) is None:
            raise ArmError(
                404,
                "ParentResourceNotFound",
                f"Failed to perform '{'read' if of_collection else 'write'}' on resource(s) of type "
                f"'{parsed.type.partition('/')[2]}', because the parent resource '{parent}' could not be found.",
            )


def _patch(twin: Twin, call: Call, kind: Kind, there: Document | None) -> Reply:
    if not kind.patch:
        raise _not_allowed(call)
    if there is None:
        raise not_found(call.id)
    body = merged({k: v for k, v in there.items() if not k.startswith("_")}, _object(call))
    call.body = body
    return _put(twin, call, kind, there, "PATCH")


def merged(document: Any, change: Any) -> Any:
    """A JSON merge patch (RFC 7396): null takes a member away."""
    if not isinstance(change, dict) or not isinstance(document, dict):
        return copy.deepcopy(change)
    result = dict(document)
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _put(twin: Twin, call: Call, kind: Kind, there: Document | None, what: str) -> Reply:
    parsed = Id.parse(call.id)
    body = _object(call)
    _check_scope(kind, parsed)
    _check_name(kind, parsed)
    _check_idle(twin, call.id)
    if kind.location:
        _check_location(kind, parsed, body, there)
    if there is None:
        softly.check_name(twin, kind, parsed, body)
    made = kind.put(twin, call, there) if kind.put else _kept(body)
    document = _completed(kind, parsed, made, there)
    asynchronous = kind.open_ended or kind.seconds > 0
    if kind.provisioning:
        state = "Succeeded" if not asynchronous else "Creating" if there is None else "Updating"
        document.setdefault("properties", {})["provisioningState"] = state
    twin.keep(document)
    status = kind.codes[0] if there is None else kind.codes[1]
    headers: dict[str, str] = {}
    if asynchronous:
        operation = operations.begin(twin, call, None if kind.open_ended else kind.seconds, what)
        headers = operations.headers(twin, operation)
    if kind.begun:
        kind.begun(twin, document)
    if not asynchronous and kind.done:
        kind.done(twin, document)
    return Reply(status, shown(twin, document), headers)


def _kept(body: Document) -> Document:
    return {name: copy.deepcopy(value) for name, value in body.items() if not name.startswith("_")}


def _completed(kind: Kind, parsed: Id, made: Document, there: Document | None) -> Document:
    """With id, name and type first, spelled as they were at first."""
    document: Document = {"id": parsed.text, "name": parsed.name, "type": kind.type}
    document |= {name: value for name, value in made.items() if name not in document}
    if there:
        document |= {name: there[name] for name in ("id", "name", "location") if name in there}
        document |= {name: value for name, value in there.items() if name.startswith("_") and name not in document}
    return document


def _delete(twin: Twin, call: Call, kind: Kind, there: Document | None) -> Reply:
    if there is None:
        return Reply(204)
    _check_idle(twin, call.id)
    if kind.deleting:
        kind.deleting(twin, call, there)
    purge = kind.soft_delete.purge if kind.soft_delete else ""
    if purge and call.query.get(purge, "").lower() == "true":
        there["_purge"] = True
    if not kind.seconds and not kind.open_ended:
        remove(twin, call.id)
        return Reply(200)
    operations.set_state(there, "Deleting")
    operation = operations.begin(twin, call, kind.seconds, "DELETE")
    return Reply(202, None, operations.headers(twin, operation))


def _object(call: Call) -> Document:
    if not isinstance(call.body, dict):
        raise ArmError(400, "InvalidRequestContent", "The request content was invalid and could not be deserialized.")
    return call.body


def _check_scope(kind: Kind, parsed: Id) -> None:
    extends = "/providers/" in parsed.scope.lower()
    where = "resource" if extends else "group" if parsed.group else "subscription"
    if where not in kind.scopes:
        raise ArmError(
            400, "InvalidResourceScope", f"A resource of type '{kind.type}' can't be created at the scope of a {where}."
        )


def _check_name(kind: Kind, parsed: Id) -> None:
    if not re.fullmatch(kind.name, parsed.name):
        raise ArmError(
            400,
            "InvalidResourceName",
            f"Resource name {parsed.name} is invalid: it must match {kind.name}",
            target=parsed.name,
        )


def _check_idle(twin: Twin, resource_id: str) -> None:
    if operation := operations.running(twin, resource_id):
        raise ArmError(
            409,
            "AnotherOperationInProgress",
            f"Another operation ({operation['what']} {operation['id']}) on '{resource_id}' is in progress.",
        )


def _check_location(kind: Kind, parsed: Id, body: Document, there: Document | None) -> None:
    given = str(body.get("location") or "")
    if not given:
        if there:
            return
        raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
    canonical = given.replace(" ", "").lower()
    if there and there.get("location", "").replace(" ", "").lower() != canonical:
        raise ArmError(
            409,
            "InvalidResourceLocation",
            f"The resource '{parsed.name}' already exists in location '{there['location']}' in resource group "
            f"'{parsed.group}'. A resource with the same name cannot be created in location '{given}'. Please select "
            "a new resource name.",
        )
    body["location"] = canonical


def new_id() -> str:
    """A GUID."""
    return str(uuid.uuid4())


def same(one: str, other: str) -> bool:
    """Are these ids those of one resource?"""
    return key(one) == key(other)
