"""Scaling of endpoints by their load, async ones from and to zero."""

from collections.abc import Sequence

import pulumi
from pulumi_aws import appautoscaling, cloudwatch

from infra.settings import Endpoint as Entry
from infra.targets.aws.preparation import DIMENSION
from infra.targets.aws.resources.observe import VARIANT
from infra.targets.aws.resources.stack import Here


def provide_scaling(
    here: Here, name: str, entry: Entry, endpoint: pulumi.Output[str], physical: str, kind: str
) -> Sequence[pulumi.Resource]:
    """Declare the scaling between two counts of instances.

    The tag makes the target anew when the instance type changes: see infra.targets.aws.preparation.
    """
    target = appautoscaling.Target(
        f"scaling-{name}",
        service_namespace="sagemaker",
        resource_id=pulumi.Output.concat("endpoint/", endpoint, f"/variant/{VARIANT}"),
        scalable_dimension=DIMENSION,
        min_capacity=entry.size.instances,
        max_capacity=entry.size.max_instances,
        tags={"llmops:instance-type": kind},
        opts=here.options(replace_on_changes=["tags"], delete_before_replace=True),
    )
    policy = appautoscaling.Policy(
        f"scaling-{name}-load",
        name=here.names.of(f"{name}-load"),
        service_namespace=target.service_namespace,
        resource_id=target.resource_id,
        scalable_dimension=target.scalable_dimension,
        policy_type="TargetTrackingScaling",
        target_tracking_scaling_policy_configuration=_tracking(entry, physical),
        opts=here.options(),
    )
    if entry.mode == "async" and entry.size.instances == 0:
        return [target, policy, *_wake(here, name, target, physical)]
    return [target, policy]


def _tracking(entry: Entry, physical: str) -> appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs:
    """Real-time: requests at once on an instance; async: those that wait for one.

    https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-prerequisites.html
    https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-autoscale.html
    """
    part = "PolicyTargetTrackingScalingPolicyConfiguration"
    if entry.mode == "async":
        dimension = getattr(appautoscaling, f"{part}CustomizedMetricSpecificationDimensionArgs")
        metric = getattr(appautoscaling, f"{part}CustomizedMetricSpecificationArgs")(
            namespace="AWS/SageMaker",
            metric_name="ApproximateBacklogSizePerInstance",
            statistic="Average",
            dimensions=[dimension(name="EndpointName", value=physical)],
        )
        which = {"customized_metric_specification": metric}
    else:
        metric = getattr(appautoscaling, f"{part}PredefinedMetricSpecificationArgs")(
            predefined_metric_type="SageMakerVariantConcurrentRequestsPerModelHighResolution"
        )
        which = {"predefined_metric_specification": metric}
    return appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs(
        target_value=float(entry.size.concurrent_requests), scale_in_cooldown=300, scale_out_cooldown=60, **which
    )


def _wake(here: Here, name: str, target: appautoscaling.Target, physical: str) -> Sequence[pulumi.Resource]:
    """From zero: a backlog per instance is not defined without one, so a step brings the first."""
    step = appautoscaling.PolicyStepScalingPolicyConfigurationStepAdjustmentArgs(
        metric_interval_lower_bound="0", scaling_adjustment=1
    )
    policy = appautoscaling.Policy(
        f"scaling-{name}-wake",
        name=here.names.of(f"{name}-wake"),
        service_namespace=target.service_namespace,
        resource_id=target.resource_id,
        scalable_dimension=target.scalable_dimension,
        policy_type="StepScaling",
        step_scaling_policy_configuration=appautoscaling.PolicyStepScalingPolicyConfigurationArgs(
            adjustment_type="ChangeInCapacity", metric_aggregation_type="Average", cooldown=300, step_adjustments=[step]
        ),
        opts=here.options(),
    )
    alarm = cloudwatch.MetricAlarm(
        f"scaling-{name}-backlog",
        name=here.names.of(f"{name}-backlog"),
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
        alarm_actions=[policy.arn],
        opts=here.options(),
    )
    return [policy, alarm]
