"""The faults that Azure's twin has (twins/faults.py), and those of any call: throttling, errors, slowness, late sight.

Who carries out the others asks for them: `find` for what lasts, `take` for what happens so many times. `service` is a
resource provider's namespace ("Microsoft.Storage"), or a data plane ("blob", "vault", "registry", "history");
`operation` is the type's path in it with what is done: "workspaces/computes/write", "workspaces/jobs/cancel/action".
"""

import time
from typing import Any

from twins.azure.calls import Call
from twins.azure.errors import ArmError
from twins.azure.ids import key
from twins.azure.twin import Twin
from twins.faults import ANY, CONTAINERS, TIMES, Fault, Faults, Kind, Member

RETRY_SECONDS = 1
_PATTERN, _SECONDS = Member("pattern"), Member("number")
_CALL = {"service": ANY, "operation": _PATTERN}
KINDS = {
    "throttle": Kind("so many calls are answered with 429 and Retry-After", {**_CALL, "times": TIMES}),
    "error": Kind("so many calls are answered with an internal error (500)", {**_CALL, "times": TIMES}),
    "slow": Kind("so many calls take so much longer", {**_CALL, "seconds": _SECONDS, "times": TIMES}),
    "eventual": Kind("what these calls make can't be found by GET for so long", {**_CALL, "seconds": _SECONDS}),
    "role_propagation": Kind("a role assignment works only so long after it was made", {"seconds": _SECONDS}),
    "failure": Kind(
        "the next operation on this resource that takes time ends as Failed", {"name": _PATTERN, "times": TIMES}
    ),
    **CONTAINERS,
}


def of(twin: Twin) -> Faults:
    """The faults of a twin."""
    return Faults(KINDS, twin.state, twin.changed)


def find(twin: Twin, kind: str, **subject: str) -> Fault | None:
    """The first fault of a kind whose patterns match; it stays as it is."""
    return of(twin).find(kind, **subject)


def take(twin: Twin, kind: str, **subject: str) -> Fault | None:
    """The first fault of a kind whose patterns match; it happens now, once less."""
    return of(twin).take(kind, **subject)


def delay(twin: Twin, permission: str) -> None:
    """Wait, if a call is slower than it would be; the lock is not held."""
    if not twin.state.get("faults"):
        return
    with twin.lock:
        fault = take(twin, "slow", **subject_of(permission))
    if fault:
        time.sleep(float(fault["seconds"]))


def meet(twin: Twin, service: str, operation: str) -> None:
    """Refuse a call that a fault is waiting for; data planes may ask too, and word it their way.

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
        raise ArmError(500, "InternalServerError", "Encountered internal server error.")


def subject_of(permission: str) -> dict[str, str]:
    """What a call's permission ("Microsoft.Storage/storageAccounts/write") is to a fault."""
    service, _, operation = permission.partition("/")
    return {"service": service, "operation": operation}


def hide(twin: Twin, permission: str, resource_id: str) -> None:
    """Let nobody see what a call made, for a time, if a fault wants that."""
    if fault := find(twin, "eventual", **subject_of(permission)):
        fault["met"] += 1
        fault.setdefault("made", []).append([key(resource_id), time.time() + fault["seconds"]])
        twin.changed()


def unseen(twin: Twin, call: Call) -> bool:
    """Was what a call asks for made too short a time ago?"""
    made: list[Any] = [each for fault in of(twin).all().get("eventual", []) for each in fault.get("made", [])]
    return any(each == key(call.id) and time.time() < until for each, until in made)
