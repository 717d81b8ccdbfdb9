"""Faults of Azure's twin, and how a rehearsal that meets one ends."""

from typing import TYPE_CHECKING

from llmops.rehearsal.fault_case import FaultCase

if TYPE_CHECKING:
    from llmops.rehearsal.stage import Stage


def _after_the_roles(stage: "Stage") -> float:
    """So long after the role assignments were made that the first job meets them too early."""
    return stage.timeline.now() - stage.notes["roles made"] + 30


_ML = "Microsoft.MachineLearningServices"
CASES: tuple[FaultCase, ...] = (
    FaultCase(
        "throttle",
        "throttle",
        "up",
        "calls that make a registry are throttled three times",
        "recovered",
        {"service": "Microsoft.ContainerRegistry", "operation": "registries/write", "times": 3},
    ),
    FaultCase(
        "error",
        "error",
        "up",
        "calls that make a vault are answered with an internal error twice",
        "recovered",
        {"service": "Microsoft.KeyVault", "operation": "vaults/write", "times": 2},
    ),
    FaultCase(
        "slow",
        "slow",
        "plan",
        "two calls that look at a resource group take three seconds longer",
        "recovered",
        {"service": "Microsoft.Resources", "operation": "*/read", "seconds": 3, "times": 2},
    ),
    FaultCase(
        "eventual",
        "eventual",
        "train",
        "a job that was just made can't be found for three seconds",
        "recovered",
        {"service": _ML, "operation": "workspaces/jobs/write", "seconds": 3},
    ),
    FaultCase(
        "role_propagation",
        "role_propagation",
        "train",
        "role assignments work only some seconds after the first job is asked for",
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
        "there is no machine of the endpoints' size",
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
        says="probe",
        way_out="mend the image, or give it more `start_seconds`; then `llmops up`, which removes what failed",
    ),
    FaultCase(
        "bad_image",
        "bad_image",
        "serve",
        "containers end at once",
        "refused",
        {"image": "*"},
        says="container",
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
        "failure",
        "failure",
        "update",
        "the new deployment ends as Failed, for no reason of ours",
        "refused",
        {"name": "*", "times": 1},
        says="Failed",
        way_out="`llmops up` again, which removes what failed and goes on",
    ),
)
