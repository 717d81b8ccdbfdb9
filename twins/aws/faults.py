"""Faults on request: what goes wrong on AWS now and then, made to happen when a test needs it.

Each is one JSON object: `{"kind": …}` and the members named in `KINDS`. They are kept with the twin's state.
"""

from fnmatch import fnmatchcase
from typing import Any

from twins.aws.calls import ApiError, Call
from twins.aws.twin import Twin

KINDS = {
    "rollback": ("endpoint",),  # the endpoint's next update is rolled back, and nobody is told
    "silent": ("image",),  # containers of images of this pattern never answer
    "capacity": ("instance_type",),  # there is no instance of this type
    "throttle": ("service", "operation", "times"),  # so many calls are answered with a throttling error
    "role_propagation_seconds": ("seconds",),  # a role works only so long after it was made
}


def add(twin: Twin, fault: dict[str, Any]) -> None:
    """Let a fault happen from now on.

    Raises:
        ValueError: no such kind, or a member is missing or unknown.
    """
    kind = fault.get("kind", "")
    if kind not in KINDS:
        raise ValueError(f"no fault {kind!r}")
    if fault.keys() - {"kind"} != set(KINDS[kind]):
        raise ValueError(f"the fault {kind} has the members {', '.join(KINDS[kind])}")
    if kind == "role_propagation_seconds":
        all_of(twin)[kind] = fault["seconds"]
    else:
        all_of(twin).setdefault(kind, []).append({name: fault[name] for name in KINDS[kind]})
    twin.changed()


def all_of(twin: Twin) -> dict[str, Any]:
    """The faults that still may happen, by kind."""
    return twin.state.setdefault("faults", {})


def clear(twin: Twin) -> None:
    """Let nothing more go wrong."""
    all_of(twin).clear()
    twin.changed()


def find(twin: Twin, kind: str, **subject: str) -> dict[str, Any] | None:
    """The first fault of a kind whose patterns match."""
    for fault in all_of(twin).get(kind, []):
        if all(fnmatchcase(value, str(fault[name])) for name, value in subject.items()):
            return fault
    return None


def take(twin: Twin, kind: str, **subject: str) -> bool:
    """Does a fault that happens once happen now?"""
    fault = find(twin, kind, **subject)
    if fault:
        all_of(twin)[kind].remove(fault)
        twin.changed()
    return fault is not None


def throttle(twin: Twin, call: Call) -> None:
    """Refuse a call as AWS does when there are too many.

    Raises:
        ApiError: ThrottlingException.
    """
    fault = find(twin, "throttle", service=call.service, operation=call.operation)
    if fault and fault["times"] > 0:
        fault["times"] -= 1
        twin.changed()
        raise ApiError("ThrottlingException", "Rate exceeded")
