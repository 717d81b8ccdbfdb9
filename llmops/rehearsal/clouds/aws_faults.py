"""Faults of AWS's twin, and how a rehearsal that meets one ends."""

from typing import TYPE_CHECKING

from llmops.rehearsal.fault_case import FaultCase

if TYPE_CHECKING:
    from llmops.rehearsal.stage import Stage


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
