"""Autoscaling of endpoints; async ones scale from and to zero."""

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi_aws import appautoscaling, cloudwatch

from llmops_kit.clouds.aws.names import SCALING_DIMENSION, VARIANT
from llmops_kit.infra.targets.aws.resources.context import AwsContext
from llmops_kit.settings.stack_settings import Endpoint as Entry


def declare_scaling(
    stack: AwsContext, name: str, entry: Entry, endpoint: pulumi.Output[str], kind: str
) -> Sequence[pulumi.Resource]:
    """Declare the scaling between two instance counts.

    A change of the instance type changes the tag, so that the target is replaced: see
    llmops_kit.infra.targets.aws.providers.preparation.
    """
    target = appautoscaling.Target(
        f"scaling-{name}",
        service_namespace="sagemaker",
        resource_id=pulumi.Output.concat("endpoint/", endpoint, f"/variant/{VARIANT}"),
        scalable_dimension=SCALING_DIMENSION,
        min_capacity=entry.size.instances,
        max_capacity=entry.size.max_instances,
        tags={"llmops:instance-type": kind},
        opts=stack.options(replace_on_changes=["tags"], delete_before_replace=True),
    )

    def policy(part: str, kind: str, **configuration: Any) -> appautoscaling.Policy:
        return appautoscaling.Policy(
            f"scaling-{name}-{part}",
            name=stack.names.of(f"{name}-{part}"),
            service_namespace=target.service_namespace,
            resource_id=target.resource_id,
            scalable_dimension=target.scalable_dimension,
            policy_type=kind,
            **configuration,
            opts=stack.options(),
        )

    physical = stack.names.of(name)
    tracking = _tracking(entry, physical)
    load = policy("load", "TargetTrackingScaling", target_tracking_scaling_policy_configuration=tracking)
    if entry.mode != "async" or entry.size.instances:
        return [target, load]
    # Without an instance, the backlog per instance is undefined, so a step policy starts the first one.
    wake = policy("wake", "StepScaling", step_scaling_policy_configuration=_STEP)
    return [target, load, wake, _backlog(stack, name, physical, wake)]


def _tracking(entry: Entry, physical: str) -> Any:
    """Returns the metric that scaling tracks: concurrent requests, or for async the backlog, per instance.

    https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-prerequisites.html
    https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-autoscale.html
    """
    found = {"target_value": float(entry.size.concurrent_requests), "scale_in_cooldown": 300, "scale_out_cooldown": 60}
    if entry.mode != "async":
        kind = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
        return found | {"predefined_metric_specification": {"predefined_metric_type": kind}}
    metric = {
        "namespace": "AWS/SageMaker",
        "metric_name": "ApproximateBacklogSizePerInstance",
        "statistic": "Average",
        "dimensions": [{"name": "EndpointName", "value": physical}],
    }
    return found | {"customized_metric_specification": metric}


_STEP: appautoscaling.PolicyStepScalingPolicyConfigurationArgsDict = {
    "adjustment_type": "ChangeInCapacity",
    "metric_aggregation_type": "Average",
    "cooldown": 300,
    "step_adjustments": [{"metric_interval_lower_bound": "0", "scaling_adjustment": 1}],
}


def _backlog(stack: AwsContext, name: str, physical: str, wake: appautoscaling.Policy) -> cloudwatch.MetricAlarm:
    return cloudwatch.MetricAlarm(
        f"scaling-{name}-backlog",
        name=stack.names.of(f"{name}-backlog"),
        alarm_description=f"endpoint {name} has requests and no instance",
        namespace="AWS/SageMaker",
        metric_name="HasBacklogWithoutCapacity",
        dimensions={"EndpointName": physical},
        statistic="Average",
        period=60,
        evaluation_periods=2,
        datapoints_to_alarm=2,
        comparison_operator="GreaterThanOrEqualToThreshold",
        threshold=1,
        treat_missing_data="missing",
        alarm_actions=[wake.arn],
        opts=stack.options(),
    )
