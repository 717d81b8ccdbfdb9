"""Faults on request, and how a rehearsal that meets one ends. docs/how-to/rehearsal.md shows this table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from contract.errors import KitError

End = Literal["recovered", "refused"]
ENDS: dict[End, str] = {
    "recovered": "the step goes on by itself",
    "refused": "a clear error with the way out, which then works",
}


@dataclass(frozen=True)
class FaultCase:
    """A fault of the twin (twins/faults.py), where a rehearsal meets it, and its end.

    A member that is not known before is a function of the stage. `says` must stand in the refusal.
    """

    name: str
    kind: str
    step: str
    does: str
    end: End
    members: Mapping[str, Any] = field(default_factory=dict)
    says: str = ""
    way_out: str = ""


CASES: tuple[FaultCase, ...] = (
    FaultCase(
        "throttle",
        "throttle",
        "up",
        "three calls that make a repository are answered with a throttling error",
        "recovered",
        {"service": "ecr", "operation": "CreateRepository", "times": 3},
    ),
)


def find(name: str) -> FaultCase:
    """The case of a name.

    Raises:
        KitError: there is none.
    """
    for case in CASES:
        if case.name == name:
            return case
    raise KitError(f"there is no fault {name}", where="--fault", fix=f"one of {', '.join(c.name for c in CASES)}")
