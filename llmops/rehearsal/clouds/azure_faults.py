"""Faults of Azure's twin, and how a rehearsal that meets one ends."""

from llmops.rehearsal.clouds.container_faults import container_cases
from llmops.rehearsal.fault_case import FaultCase

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
        "policy",
        "policy",
        "up",
        "an Azure Policy of the company denies that a registry is made",
        "refused",
        {"service": "Microsoft.ContainerRegistry", "operation": "registries/write"},
        says="disallowed by policy",
        way_out="an exemption from the policy, or a registry that is given; then `llmops up` again",
    ),
    FaultCase(
        "expired",
        "expired",
        "plan",
        "everybody's credentials are expired",
        "refused",
        {"principal": "*"},
        says="expired",
        way_out="new credentials, then the same command again",
    ),
    FaultCase(
        "role_propagation",
        "role_propagation",
        "up",
        "role assignments work only ten seconds after they were made; the update waits for them",
        "recovered",
        {"seconds": 10},
    ),
    FaultCase(
        "no_budgets",
        "no_budgets",
        "up",
        "the subscription's offer has no budgets; the update says so, and goes on without",
        "recovered",
        {"times": 0},
    ),
    *container_cases(
        no_machine="machine of the endpoints' size",
        silent="did not answer its readiness route",
        ended="crashed or terminated",
        cut="cut off",
    ),
    FaultCase(
        "failure",
        "failure",
        "update",
        "the new deployment ends as Failed, for no reason of ours",
        "refused",
        {"name": "*", "times": 1},
        says="platform's own",
        way_out="`llmops up` again, which removes what failed and goes on",
    ),
)
