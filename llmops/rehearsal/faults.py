"""Faults on request, and how a rehearsal that meets one ends. docs/how-to/rehearsal.md shows this table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from contract.errors import KitError

if TYPE_CHECKING:
    from llmops.rehearsal.stage import Stage

End = Literal["recovered", "refused"]
"""The step goes on by itself; or a clear error names the way out, which then works."""


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


def _after_the_roles(stage: "Stage") -> float:
    """So long after the roles were made that the first job meets them too early."""
    return stage.timeline.now() - stage.notes["roles made"] + 30


CASES: tuple[FaultCase, ...] = (
    FaultCase(
        "throttle",
        "throttle",
        "up",
        "calls that make a repository are throttled three times",
        "recovered",
        {"service": "ecr", "operation": "CreateRepository", "times": 3},
    ),
    FaultCase(
        "error",
        "error",
        "up",
        "calls that make a key are answered with an internal error twice",
        "recovered",
        {"service": "kms", "operation": "CreateKey", "times": 2},
    ),
    FaultCase(
        "slow",
        "slow",
        "plan",
        "two calls that ask who the caller is take three seconds longer",
        "recovered",
        {"service": "sts", "operation": "GetCallerIdentity", "seconds": 3, "times": 2},
    ),
    FaultCase(
        "eventual",
        "eventual",
        "train",
        "a job that was just made can't be found for three seconds",
        "recovered",
        {"service": "sagemaker", "operation": "CreateTrainingJob", "seconds": 3},
    ),
    FaultCase(
        "role_propagation",
        "role_propagation",
        "train",
        "the role of jobs works only some seconds after the first job is asked for",
        "recovered",
        {"seconds": _after_the_roles},
    ),
    FaultCase(
        "spot_reclaim",
        "spot_reclaim",
        "train",
        "the job's machine is taken away a second time, before its first checkpoint",
        "recovered",
        {"job": "*", "after_seconds": 3, "times": 1},
    ),
    FaultCase(
        "capacity",
        "capacity",
        "serve",
        "there is no instance of the endpoints' type",
        "refused",
        {"instance_type": "*"},
        says="capacity",
        way_out="another `size.instance_type`, or later the same: `llmops up`, which removes what failed and goes on",
    ),
    FaultCase(
        "slow_start",
        "slow_start",
        "serve",
        "containers answer only five seconds after their start",
        "recovered",
        {"image": "*", "seconds": 5},
    ),
    FaultCase(
        "silent",
        "silent",
        "serve",
        "containers never answer",
        "refused",
        {"image": "*"},
        says="health check",
        way_out="mend the image, or give it more `start_seconds`; then `llmops up`, which removes what failed",
    ),
    FaultCase(
        "bad_image",
        "bad_image",
        "serve",
        "containers end at once",
        "refused",
        {"image": "*"},
        says="health check",
        way_out="mend the image (`llmops logs` has its last words); then `llmops up`, which removes what failed",
    ),
    FaultCase(
        "crash",
        "crash",
        "invoke",
        "the endpoint's container is killed; it is started anew, and clients try again meanwhile",
        "recovered",
        {"name": "*assistant*", "times": 1},
    ),
    FaultCase(
        "cut_stream",
        "cut_stream",
        "invoke",
        "a streamed answer loses its connection after 100 bytes",
        "refused",
        {"endpoint": "*", "after_bytes": 100, "times": 1},
        says="broke",
        way_out="ask again",
    ),
    FaultCase(
        "rollback",
        "rollback",
        "update",
        "SageMaker rolls the update back and tells nobody",
        "refused",
        {"endpoint": "*", "times": 1},
        says="rolled the update back",
        way_out="mend what the endpoint's log shows, here nothing; then `llmops up --refresh`",
    ),
)


def table() -> str:
    """The cases as docs/how-to/rehearsal.md shows them."""
    lines = ["| `--fault` | what goes wrong | in the step | how it ends |", "|---|---|---|---|"]
    for case in CASES:
        end = "recovered" if case.end == "recovered" else f'refused, with "{case.says}"; the way out: {case.way_out}'
        lines.append(f"| `{case.name}` | {case.does} | `{case.step}` | {end} |")
    return "\n".join(lines) + "\n"


def find(name: str) -> FaultCase:
    """The case of a name.

    Raises:
        KitError: there is none.
    """
    for case in CASES:
        if case.name == name:
            return case
    raise KitError(f"there is no fault {name}", where="--fault", fix=f"one of {', '.join(c.name for c in CASES)}")
