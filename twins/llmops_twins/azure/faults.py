"""Faults of the Azure twin (core/faults.py), and those that affect any call: throttling, errors, slowness,
delayed visibility.

Code that carries out the other faults looks them up itself: `find` for lasting faults, `take` for those that happen a
given number of times. `service` is a resource provider's namespace ("Microsoft.Storage"); `operation` is the type's
path in it with the verb: "workspaces/computes/write", "workspaces/jobs/cancel/action". A resource's own host is a
service too ("storage", "vault", "registry", "scoring": the first part of its listener's name), with operations such as
"GET /keys/signing".

https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
"""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Response

from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall
from llmops_twins.azure.protocol.ids import key
from llmops_twins.azure.twin import TenantTwin, Wsgi
from llmops_twins.core.faults import Fault, Faults, read_kinds

RETRY_SECONDS = 1
KINDS = read_kinds(Path(__file__).with_suffix(".json"))


def install(twin: TenantTwin) -> None:
    """Applies the faults that affect any call to the hosts of resources."""
    twin.around = lambda service, app: around(twin, service, app)


def of(twin: TenantTwin) -> Faults:
    """Returns the faults of a twin."""
    return Faults(KINDS, twin.state, twin.changed)


def find(twin: TenantTwin, kind: str, **subject: str) -> Fault | None:
    """Returns the first fault of a kind whose patterns match, without using it up."""
    return of(twin).find(kind, **subject)


def take(twin: TenantTwin, kind: str, **subject: str) -> Fault | None:
    """Returns the first fault of a kind whose patterns match, and uses it up once."""
    return of(twin).take(kind, **subject)


def delay(twin: TenantTwin, permission: str) -> None:
    """Waits if a fault slows a call down; without the lock."""
    if not twin.state.get("faults"):
        return
    with twin.lock:
        fault = take(twin, "slow", **subject_of(permission))
    if fault:
        time.sleep(float(fault["seconds"]))


def meet(twin: TenantTwin, service: str, operation: str) -> None:
    """Refuses a call that matches a fault. Data planes call it too, and translate the error.

    Raises:
        ArmError: 429 or 500.
    """
    if not twin.state.get("faults"):
        return
    subject = {"service": service, "operation": operation}
    if take(twin, "throttle", **subject):
        raise ArmError(
            429,
            "TooManyRequests",
            "The request is being throttled as the limit has been reached for operation type.",
            headers={"Retry-After": str(RETRY_SECONDS)},
        )
    if take(twin, "error", **subject):
        # https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors
        raise ArmError(500, "InternalServerError", "Encountered internal server error.")


def forbid(twin: TenantTwin, permission: str, name: str) -> None:
    """Refuses a call that the fault `policy` denies.

    https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-policy-requestdisallowedbypolicy
    (words of its identifiers: microsoft/vscode-apimanagement#348)

    Raises:
        ArmError: 403.
    """
    if not take(twin, "policy", **subject_of(permission)):
        return
    scope = f"/subscriptions/{twin.subscription}/providers/Microsoft.Authorization"
    found = {
        f"policy{kind}": {"name": "company", "id": f"{scope}/policy{kind}s/company"}
        for kind in ("Assignment", "Definition")
    }
    words = f"Resource '{name}' was disallowed by policy. Policy identifiers: '{json.dumps([found])}'."
    raise ArmError(403, "RequestDisallowedByPolicy", words, target=name)


def around(twin: TenantTwin, service: str, app: Wsgi) -> Wsgi:
    """Returns a resource's host wrapped so that the faults that affect any call apply."""

    def met(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if twin.state.get("faults"):
            operation = f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', '')}"
            delay(twin, f"{service}/{operation}")
            with twin.lock:
                try:
                    meet(twin, service, operation)
                except ArmError as e:
                    return _refusal(service, e)(environ, start_response)
        return app(environ, start_response)

    return met


def _refusal(service: str, error: ArmError) -> Response:
    """Returns a fault in a data plane's format; storage answers 503 ServerBusy instead of 429.

    https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
    https://learn.microsoft.com/azure/key-vault/general/overview-throttling
    """
    status, code = error.status, "Throttled" if error.status == 429 else error.code
    if service == "storage":
        status, code = (503, "ServerBusy") if error.status == 429 else (500, "InternalError")
    body = json.dumps({"error": {"code": code, "message": error.message}})
    headers = {**error.headers, "x-ms-error-code": code}
    return Response(body, status, headers, content_type="application/json")


def subject_of(permission: str) -> dict[str, str]:
    """Returns service and operation, for faults, of a call's permission ("Microsoft.Storage/storageAccounts/write")."""
    service, _, operation = permission.partition("/")
    return {"service": service, "operation": operation}


def hide(twin: TenantTwin, permission: str, resource_id: str) -> None:
    """Hides the resource that a call created for a while, if a fault is active."""
    if fault := find(twin, "eventual", **subject_of(permission)):
        fault["met"] += 1
        fault.setdefault("made", []).append([key(resource_id), time.time() + fault["seconds"]])
        twin.changed()


def unseen(twin: TenantTwin, call: ArmCall) -> bool:
    """Returns whether the requested resource is still hidden."""
    made: list[Any] = [each for fault in of(twin).all().get("eventual", []) for each in fault.get("made", [])]
    return any(each == key(call.id) and time.time() < until for each, until in made)
