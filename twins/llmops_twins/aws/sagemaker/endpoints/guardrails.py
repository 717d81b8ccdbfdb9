"""Deployment guardrails: checks of a DeploymentConfig, its steps in time, and its alarms.

https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html
"""

import math

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.services.cloudwatch.alarms import states
from llmops_twins.aws.twin import AWS_TRANSITION_SECONDS, AccountTwin

DEFAULT_TIMEOUT_SECONDS = 14_400


def check(twin: AccountTwin, region: str, deployment: Document | None, config: Document) -> None:
    """Refuses a deployment that is impossible for a configuration.

    Raises:
        AwsApiError: a batch or canary has a size that AWS does not allow, or an alarm does not exist.
    """
    if not deployment:
        return
    if "BlueGreenUpdatePolicy" in deployment and "RollingUpdatePolicy" in deployment:
        raise AwsApiError(
            "ValidationException", "Only one of BlueGreenUpdatePolicy and RollingUpdatePolicy can be given."
        )
    for variant in config["ProductionVariants"]:
        _check_sizes(deployment, variant)
    known = states(twin, region)
    for name in alarm_names(deployment):
        if name not in known:
            raise AwsApiError("ValidationException", f"Could not find CloudWatch alarm {name}.")


def alarm_names(deployment: Document | None) -> list[str]:
    """Returns the alarms that a deployment watches."""
    rollback = (deployment or {}).get("AutoRollbackConfiguration", {})
    return [alarm["AlarmName"] for alarm in rollback.get("Alarms", [])]


def ringing(twin: AccountTwin, region: str, deployment: Document | None) -> list[str]:
    """Returns the alarms of a deployment that are in ALARM now."""
    known = states(twin, region)
    return [name for name in alarm_names(deployment) if known.get(name) == "ALARM"]


def timeout(deployment: Document | None) -> float:
    """Returns the seconds on AWS after which a deployment is rolled back."""
    policy = _policy(deployment)
    return policy.get("MaximumExecutionTimeoutInSeconds", DEFAULT_TIMEOUT_SECONDS)


def steps(deployment: Document | None, config: Document) -> list[Document]:
    """Returns the steps of a deployment: `seconds` on AWS, the variants' `status`, and in percent the new fleet's
    `share` of the traffic and its instances (`new`), and those of the old fleet (`old`).
    """
    policy = _policy(deployment)
    if deployment and "RollingUpdatePolicy" in deployment:
        return _rolling(policy, config)
    routing = policy.get("TrafficRoutingConfiguration", {})
    wait = routing.get("WaitIntervalInSeconds", 0)
    shares = _shares(routing, config)
    found = [_step("Creating", AWS_TRANSITION_SECONDS, 0)]
    found += [_step("Baking", wait, share) for share in shares]
    found.append(_step("Deleting", policy.get("TerminationWaitInSeconds", 0), 100))
    return found


def _rolling(policy: Document, config: Document) -> list[Document]:
    total = max(variant.get("InitialInstanceCount", 1) for variant in config["ProductionVariants"])
    batches = math.ceil(total / max(1, _instances(policy["MaximumBatchSize"], total)))
    found = []
    for batch in range(1, batches + 1):
        before, after = 100 * (batch - 1) / batches, 100 * batch / batches
        found.append(_step("Creating", AWS_TRANSITION_SECONDS / batches, before, after, 100 - before))
        found.append(_step("Baking", policy["WaitIntervalInSeconds"], after, after, 100 - before))
    return found


def _shares(routing: Document, config: Document) -> list[float]:
    total = max(variant.get("InitialInstanceCount", 1) for variant in config["ProductionVariants"])
    if routing.get("Type") == "CANARY":
        return [_percent(routing.get("CanarySize"), total), 100]
    if routing.get("Type") == "LINEAR":
        size = max(1.0, _percent(routing.get("LinearStepSize"), total))
        return [min(100.0, size * step) for step in range(1, math.ceil(100 / size) + 1)]
    return [100]


def _check_sizes(deployment: Document, variant: Document) -> None:
    total, name = variant.get("InitialInstanceCount", 1), variant["VariantName"]
    rolling = deployment.get("RollingUpdatePolicy")
    if rolling and not all(5 <= share <= 50 for share in _shares_meant(rolling["MaximumBatchSize"], total)):
        raise AwsApiError(
            "ValidationException",
            f"MaximumBatchSize must be between 5% and 50% of the variant's total instance count: "
            f"variant {name} has {total}.",
        )
    routing = deployment.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    member = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}.get(routing.get("Type", ""))
    if not member:
        return
    if member not in routing:
        raise AwsApiError(
            "ValidationException", f"{member} must be provided for a deployment of type {routing['Type']}."
        )
    found = _shares_meant(routing[member], total)
    if max(found) > 50 or (member == "LinearStepSize" and min(found) < 10):
        allowed = "at most 50%" if member == "CanarySize" else "between 10% and 50%"
        message = f"{member} must be {allowed} of the variant's total instance count: variant {name} has {total}."
        raise AwsApiError("ValidationException", message)


def _shares_meant(size: Document, total: int) -> list[float]:
    """Returns the possible percentages of a capacity: as requested if it is given in percent, and after rounding to
    whole instances. AWS does not document which of the two must be within the limits.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_TrafficRoutingConfig.html
    """
    asked = [float(size["Value"])] if size["Type"] == "CAPACITY_PERCENT" else []
    return [*asked, _percent(size, total)]


def _policy(deployment: Document | None) -> Document:
    deployment = deployment or {}
    return deployment.get("RollingUpdatePolicy") or deployment.get("BlueGreenUpdatePolicy") or {}


def _instances(size: Document, total: int) -> int:
    return size["Value"] if size["Type"] == "INSTANCE_COUNT" else max(1, total * size["Value"] // 100)


def _percent(size: Document | None, total: int) -> float:
    """Returns a capacity as a percentage of whole instances."""
    return 100.0 if size is None else 100 * _instances(size, total) / max(1, total)


def _step(status: str, seconds: float, share: float, new: float = 100.0, old: float = 100.0) -> Document:
    return {"status": status, "seconds": seconds, "share": share, "new": new, "old": old}
