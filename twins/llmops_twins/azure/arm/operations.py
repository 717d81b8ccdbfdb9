"""Asynchronous operations: started with 201 or 202, polled at their URLs until they end.

https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any

from llmops_twins.azure import faults
from llmops_twins.azure.arm import soft_delete
from llmops_twins.azure.protocol.arm_errors import ArmError, not_found
from llmops_twins.azure.protocol.calls import ArmCall, Document, Reply, timestamp
from llmops_twins.azure.protocol.ids import Id, key
from llmops_twins.azure.protocol.kinds import RESULT, STATUS
from llmops_twins.azure.twin import TenantTwin

RETRY_SECONDS = 1
"""Value of the Retry-After header: its minimum."""
KEPT_SECONDS = 3600
"""How long an ended operation can be queried."""
_END = "operations.end"
log = logging.getLogger("llmops_twins.azure")


def install(twin: TenantTwin) -> None:
    """Registers the timers that end operations."""
    twin.action_named(_END, lambda operation_id: end(twin, operation_id))


def begin(twin: TenantTwin, call: ArmCall, seconds: float | None, what: str, action: str = "") -> dict[str, Any]:
    """Starts an operation on `call.id`.

    Args:
        twin: the subscription.
        call: the call that started it.
        seconds: duration on Azure; None: it ends by `succeed` or `fail`.
        what: "PUT", "DELETE", "POST".
        action: name of an action of the twin (`action_named`), called with the resource's id when the operation ends.
    """
    operation = {
        "id": str(uuid.uuid4()),
        "resource": call.id,
        "what": what,
        "status": "InProgress",
        "action": action,
        "started": time.time(),
        "caller": call.caller.object_id,
        "api_version": call.api_version,
    }
    known: dict[str, Any] = twin.state.setdefault("operations", {})
    for each in [each for each in known.values() if time.time() > each.get("ended", time.time()) + KEPT_SECONDS]:
        del known[each["id"]]
    known[operation["id"]] = operation
    twin.changed()
    if seconds is not None:
        twin.later(twin.scaled(seconds), _END, operation["id"])
    return operation


def running(twin: TenantTwin, resource_id: str) -> dict[str, Any] | None:
    """Returns the operation in progress on a resource."""
    for operation in twin.state.get("operations", {}).values():
        if operation["status"] == "InProgress" and key(operation["resource"]) == key(resource_id):
            return operation
    return None


def succeed(twin: TenantTwin, resource_id: str) -> None:
    """Ends the operation on a resource with success, if there is one."""
    with twin.lock:
        if operation := running(twin, resource_id):
            end(twin, operation["id"])


def fail(twin: TenantTwin, resource_id: str, code: str, message: str) -> None:
    """Ends the operation on a resource with a failure, if there is one."""
    with twin.lock:
        if operation := running(twin, resource_id):
            _fail(twin, operation, ArmError(400, code, message))


def end(twin: TenantTwin, operation_id: str) -> None:
    """Ends an operation with success, or with failure if its kind's `done` raises."""
    operation = twin.state.get("operations", {}).get(operation_id)
    if operation is None or operation["status"] != "InProgress":
        return
    try:
        if faults.take(twin, "failure", name=Id.parse(operation["resource"]).name):
            raise ArmError(500, "InternalServerError", "The operation failed for a reason of the platform's own.")
        _complete(twin, operation)
    except ArmError as e:
        _fail(twin, operation, e)
    except Exception as e:  # clients that poll must see the failure
        log.exception("the end of an operation on %s failed", operation["resource"])
        _fail(twin, operation, ArmError(500, "InternalServerError", f"The twin failed: {type(e).__name__}: {e}"))
    else:
        operation.update(status="Succeeded", ended=time.time())
    twin.changed()


def headers(twin: TenantTwin, operation: Mapping[str, Any]) -> dict[str, str]:
    """Returns the headers with an operation's URLs, by the conventions of its resource type and method."""
    parsed = Id.parse(operation["resource"])
    kind = twin.kinds.get(parsed.type.lower())
    forms = kind.polled if kind else {}
    names = forms.get(operation["what"], (*STATUS, *RESULT))
    place = f"{twin.url}/subscriptions/{parsed.subscription or twin.subscription}/providers/{parsed.namespace}"
    version = operation["api_version"]
    places = {
        "Azure-AsyncOperation": f"{place}/locations/global/operationStatuses/{operation['id']}?api-version={version}",
        "Location": f"{place}/locations/global/operationResults/{operation['id']}?api-version={version}",
    }
    return {**{name: places[name] for name in names}, "Retry-After": str(RETRY_SECONDS)} if names else {}


def status(twin: TenantTwin, path: str, operation_id: str) -> Reply:
    """Returns the response at the URL in Azure-AsyncOperation."""
    operation = _known(twin, operation_id)
    body: dict[str, Any] = {"id": path, "name": operation_id, "status": operation["status"]}
    body["startTime"] = timestamp(operation["started"])
    if "ended" in operation:
        body["endTime"] = timestamp(operation["ended"])
    if "error" in operation:
        body["error"] = operation["error"]
    pending = operation["status"] == "InProgress"
    return Reply(200, body, {"Retry-After": str(RETRY_SECONDS)} if pending else {})


def result(twin: TenantTwin, operation_id: str) -> Reply:
    """Returns the response at the URL in Location: 202 while the operation runs, then the result of the call."""
    operation = _known(twin, operation_id)
    if operation["status"] == "InProgress":
        return Reply(202, None, headers(twin, operation))
    if "error" in operation:
        error = operation["error"]
        raise ArmError(operation.get("http", 400), error["code"], error["message"], error.get("target", ""))
    if operation["what"] == "DELETE":
        return Reply(204)
    document = twin.find(operation["resource"])
    if operation.get("result") is not None or operation["what"] == "POST":
        return Reply(200, operation.get("result"))
    if document is None:
        raise not_found(operation["resource"])
    return Reply(200, twin.shown(document))


def _known(twin: TenantTwin, operation_id: str) -> dict[str, Any]:
    operation = twin.state.get("operations", {}).get(operation_id)
    if operation is None:
        raise ArmError(404, "NotFound", f"The operation '{operation_id}' was not found.")
    return operation


def _complete(twin: TenantTwin, operation: dict[str, Any]) -> None:
    resource_id = operation["resource"]
    document = twin.find(resource_id)
    kind = twin.kinds.get(Id.parse(resource_id).type.lower())
    if operation["what"] == "DELETE":
        soft_delete.remove(twin, resource_id)
    elif document is not None and operation["what"] in ("PUT", "PATCH"):
        if kind and kind.done:
            kind.done(twin, document)
        set_state(document, "Succeeded")
    if operation["action"]:
        twin.run_named(operation["action"], resource_id)


def _fail(twin: TenantTwin, operation: dict[str, Any], error: ArmError) -> None:
    document = twin.find(operation["resource"])
    if document is not None and operation["what"] != "POST":
        set_state(document, "Failed")
    operation.update(status="Failed", ended=time.time(), error=error.error(), http=error.status)
    twin.changed()


def set_state(document: Document, state: str) -> None:
    """Sets properties.provisioningState of a document if it has one."""
    properties = document.get("properties")
    if isinstance(properties, dict) and "provisioningState" in properties:
        properties["provisioningState"] = state
