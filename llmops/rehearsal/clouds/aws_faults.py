"""Faults of AWS's twin, and how a rehearsal that meets one ends."""

from typing import TYPE_CHECKING

from llmops.rehearsal.clouds.container_faults import container_cases
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
        "policy",
        "policy",
        "up",
        "a service control policy of the organization denies that a repository is made",
        "refused",
        {"service": "ecr", "operation": "CreateRepository"},
        says="explicit deny in a service control policy",
        way_out="have the organization's policy changed; then `llmops up` again",
    ),
    FaultCase(
        "expired",
        "expired",
        "plan",
        "everybody's credentials are expired",
        "refused",
        {"principal": "*"},
        says="ExpiredToken",
        way_out="new credentials, then the same command again",
    ),
    FaultCase(
        "role_propagation",
        "role_propagation",
        "train",
        "the role of jobs works only some seconds after the first job is asked for",
        "recovered",
        {"seconds": _after_the_roles},
    ),
    *container_cases(
        no_machine="instance of the endpoints' type", silent="health check", ended="health check", cut="broke"
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
