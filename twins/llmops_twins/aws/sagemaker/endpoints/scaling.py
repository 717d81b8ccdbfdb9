"""Application Auto Scaling of variants: keeps instance counts within limits, and follows alarms."""

import math
from typing import Any

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.sagemaker.endpoints.endpoints import set_instance_count
from llmops_twins.aws.service_documents import Document, ask, new_id, now, regions, shelf
from llmops_twins.aws.services.cloudwatch import cloudwatch
from llmops_twins.aws.services.cloudwatch.metrics import in_window, metric_of, statistic
from llmops_twins.aws.twin import AccountTwin

_SERVICE = "application-autoscaling"
_TICK_SECONDS = 0.2
_KEPT_ACTIVITIES = 200
_DEFAULT_COOLDOWN = 300  # seconds on AWS


def install(twin: AccountTwin) -> None:
    """Registers the handler for scaling policies' alarms, and a periodic check of the limits."""
    cloudwatch.act_on(twin, "arn:aws:autoscaling:", lambda *change: _follow(twin, *change))
    twin.every(_TICK_SECONDS, lambda: _keep(twin))


def names(resource_id: str) -> tuple[str, str]:
    """Returns endpoint and variant name of a scalable target's resource id."""
    _, endpoint_name, _, variant_name = resource_id.split("/")
    return endpoint_name, variant_name


def endpoint(twin: AccountTwin, region: str, resource_id: str) -> Document | None:
    """Returns the endpoint as SageMaker describes it, or None."""
    try:
        return ask(twin, "sagemaker", "DescribeEndpoint", region, {"EndpointName": names(resource_id)[0]})
    except AwsApiError:
        return None


def variant(twin: AccountTwin, region: str, resource_id: str) -> Document | None:
    """Returns the variant as SageMaker describes it, or from its configuration while the endpoint is being created."""
    found = endpoint(twin, region, resource_id)
    wanted = names(resource_id)[1]
    for shown in (found or {}).get("ProductionVariants") or _configured(twin, region, found):
        if shown["VariantName"] == wanted:
            return shown
    return None


def instance_types(twin: AccountTwin, region: str, config: str) -> dict[str, str] | None:
    """Returns the instance type of each production variant of an endpoint configuration; None if there is none."""
    try:
        found = ask(twin, "sagemaker", "DescribeEndpointConfig", region, {"EndpointConfigName": config})
    except AwsApiError:
        return None
    return {each["VariantName"]: each.get("InstanceType", "") for each in found["ProductionVariants"]}


def may_be_zero(twin: AccountTwin, region: str, resource_id: str) -> bool:
    """Returns whether an endpoint's variant may have no instances, which only asynchronous endpoints allow."""
    found = endpoint(twin, region, resource_id)
    return bool(found and found.get("AsyncInferenceConfig"))


def _configured(twin: AccountTwin, region: str, found: Document | None) -> list[Document]:
    if not found:
        return []
    try:
        given = {"EndpointConfigName": found["EndpointConfigName"]}
        return ask(twin, "sagemaker", "DescribeEndpointConfig", region, given)["ProductionVariants"]
    except AwsApiError:
        return []


def _follow(twin: AccountTwin, region: str, arn: str, alarm: Document, change: Document) -> None:
    """Scales out or in once the cooldown has passed, when a policy's alarm goes off or is still in ALARM."""
    policy = next(
        (each for each in shelf(twin, _SERVICE, "policies", region).values() if each["PolicyARN"] == arn), None
    )
    if policy is None:
        # unsure (50 %): no source found: assumed from Amazon EC2 Auto Scaling; it is the reason of an action
        raise AwsApiError("ValidationError", f"Scaling policy not found: {arn}")
    target = shelf(twin, _SERVICE, "targets", region).get(_key(policy))
    current = _instances(twin, region, policy["ResourceId"])
    if target is None or current is None or _cooling(twin, policy):
        return
    wanted = _tracked(twin, region, policy, alarm, current) if policy["PolicyType"] == "TargetTrackingScaling" else _stepped(twin, region, policy, alarm, current)  # fmt: skip # noqa: E501
    wanted = max(target["MinCapacity"], min(target["MaxCapacity"], wanted))
    suspended = target["SuspendedState"]
    way = "Out" if wanted > current else "In"
    if wanted == current or suspended[f"DynamicScaling{way}Suspended"]:
        return
    cause = f"monitor alarm {alarm['AlarmName']} in state {change['new']} triggered policy {policy['PolicyName']}"
    if _scale(twin, region, target, wanted, cause):
        policy["scaled"] = {"at": now(), "way": way}


def _tracked(twin: AccountTwin, region: str, policy: Document, alarm: Document, current: int) -> int:
    goal = policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
    measured = _measured(twin, region, alarm)
    high = alarm["ComparisonOperator"].startswith("Greater")
    if measured is None:
        return current + 1 if high else current - 1
    proposed = math.ceil(max(1, current) * measured / goal)
    return max(current + 1, proposed) if high else min(current - 1, proposed)


def _stepped(twin: AccountTwin, region: str, policy: Document, alarm: Document, current: int) -> int:
    steps = policy["StepScalingPolicyConfiguration"]
    measured = _measured(twin, region, alarm)
    distance = (measured if measured is not None else alarm["Threshold"]) - alarm["Threshold"]
    for step in steps.get("StepAdjustments", []):
        above = step.get("MetricIntervalLowerBound", -math.inf) <= distance
        if above and distance < step.get("MetricIntervalUpperBound", math.inf):
            return _adjusted(steps, step["ScalingAdjustment"], current)
    return current


def _adjusted(steps: Document, amount: int, current: int) -> int:
    kind = steps.get("AdjustmentType", "ChangeInCapacity")
    if kind == "ExactCapacity":
        return amount
    if kind == "PercentChangeInCapacity":
        least = steps.get("MinAdjustmentMagnitude", 1)
        change = math.trunc(current * amount / 100)
        return current + (change if abs(change) >= least else int(math.copysign(least, amount)))
    return current + amount


def _measured(twin: AccountTwin, region: str, alarm: Document) -> float | None:
    if "MetricName" not in alarm:
        return None
    end = now()
    begin = end - cloudwatch.seconds_of(twin, alarm["Period"]) * (alarm["EvaluationPeriods"] + 2)
    points = in_window(twin, region, metric_of(alarm), begin, end)
    return statistic(points[-1:], alarm.get("Statistic", "Average"))


def _cooling(twin: AccountTwin, policy: Document) -> bool:
    last = policy.get("scaled")
    if not last:
        return False
    tracking = policy.get("TargetTrackingScalingPolicyConfiguration", {})
    steps = policy.get("StepScalingPolicyConfiguration", {})
    pause = tracking.get(f"Scale{last['way']}Cooldown", steps.get("Cooldown", _DEFAULT_COOLDOWN))
    return now() < last["at"] + twin.scaled(pause)


def _keep(twin: AccountTwin) -> None:
    for region in regions(twin, _SERVICE):
        for target in list(shelf(twin, _SERVICE, "targets", region).values()):
            current = _instances(twin, region, target["ResourceId"])
            if current is None:
                continue
            for name, wanted in (("minimum", target["MinCapacity"]), ("maximum", target["MaxCapacity"])):
                if (current < wanted) if name == "minimum" else (current > wanted):
                    _scale(twin, region, target, wanted, f"{name} capacity was set to {wanted}")


def _instances(twin: AccountTwin, region: str, resource_id: str) -> int | None:
    """Returns the desired instance count of a variant that can be scaled now; None otherwise."""
    found = endpoint(twin, region, resource_id)
    if not found or found["EndpointStatus"] != "InService":
        return None
    shown = variant(twin, region, resource_id)
    return shown.get("DesiredInstanceCount") if shown else None


def _scale(twin: AccountTwin, region: str, target: Document, count: int, cause: str) -> bool:
    activity: dict[str, Any] = {
        **{name: target[name] for name in ("ServiceNamespace", "ResourceId", "ScalableDimension")},
        "ActivityId": new_id(),
        "Description": f"Setting desired instance count to {count}.",
        "Cause": cause,
        "StartTime": now(),
    }
    try:
        set_instance_count(twin, region, *names(target["ResourceId"]), count)
    except AwsApiError as e:
        done, text = "Failed", f"Failed to set desired instance count to {count}. Reason: {e.message}"
    else:
        done, text = "Successful", f"Successfully set desired instance count to {count}. Change successfully fulfilled by sagemaker."  # fmt: skip # noqa: E501
    activity.update(StatusCode=done, StatusMessage=text, EndTime=now())
    kept = shelf(twin, _SERVICE, "activities", region).setdefault("all", {"events": []})
    last = kept["events"][-1] if kept["events"] else {}
    if (last.get("Cause"), last.get("StatusMessage")) != (cause, text):
        kept["events"] = [*kept["events"][1 - _KEPT_ACTIVITIES :], activity]
    twin.changed()
    return done == "Successful"


def _key(given: Document) -> str:
    return "\n".join(given[name] for name in ("ServiceNamespace", "ResourceId", "ScalableDimension"))
