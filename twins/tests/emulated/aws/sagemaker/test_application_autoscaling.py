"""Targets, policies and their alarms, activities; what really happens to a variant."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from twins.tests.emulated.aws.services.waiting import eventually
from twins.tests.support.aws import RunningTwin, await_status, made_config

DIMENSION = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}
METRIC = "SageMakerVariantConcurrentRequestsPerModelHighResolution"


@pytest.fixture(scope="module")
def resource(twin: RunningTwin, model: str) -> dict[str, str]:
    """What names the variant of an endpoint that serves."""
    made_config(twin, "scaled-1", model)
    twin.client("sagemaker").create_endpoint(EndpointName="scaled", EndpointConfigName="scaled-1")
    await_status(twin, "scaled", "InService")
    return {**DIMENSION, "ResourceId": "endpoint/scaled/variant/main"}


@pytest.fixture
def autoscaling(twin: RunningTwin, resource: dict[str, str]) -> Any:
    """A client; what a test registered before is taken off."""
    client = twin.client("application-autoscaling")
    if client.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]:
        client.deregister_scalable_target(**resource)
    return client


def test_target_keeps_its_fields_arn_and_tags(autoscaling: Any, resource: dict[str, str]) -> None:
    arn = autoscaling.register_scalable_target(**resource, MinCapacity=1, MaxCapacity=3, Tags={"a": "b"})[
        "ScalableTargetARN"
    ]
    again = autoscaling.register_scalable_target(**resource, MaxCapacity=4)["ScalableTargetARN"]
    [target] = autoscaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert again == arn == target["ScalableTargetARN"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)
    assert target["RoleARN"].endswith("AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint")
    autoscaling.tag_resource(ResourceARN=arn, Tags={"c": "d"})
    autoscaling.untag_resource(ResourceARN=arn, TagKeys=["a"])
    assert autoscaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"c": "d"}


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"MinCapacity": 4}, "Maximum capacity cannot be less than minimum capacity"),
        ({"MinCapacity": 0}, "Minimum capacity must be at least 1"),
        ({"ResourceId": "endpoint/none/variant/main"}, "endpoint not found: none"),
        ({"ResourceId": "endpoint/scaled/variant/other"}, "variant not found: other"),
        ({"ResourceId": "table/x"}, "Unsupported service namespace, resource type or scalable dimension"),
    ],
)
def test_target_that_can_not_be_is_refused(
    autoscaling: Any, resource: dict[str, str], changed: dict, text: str
) -> None:
    with pytest.raises(autoscaling.exceptions.ValidationException, match=text):
        autoscaling.register_scalable_target(**{**resource, "MinCapacity": 1, "MaxCapacity": 3, **changed})


def test_target_tracking_makes_two_alarms_that_go_with_the_target(
    twin: RunningTwin, autoscaling: Any, resource: dict[str, str]
) -> None:
    autoscaling.register_scalable_target(**resource, MinCapacity=1, MaxCapacity=3)
    policy = _track(autoscaling, resource)
    cloudwatch = twin.client("cloudwatch")
    names = [alarm["AlarmName"] for alarm in policy["Alarms"]]
    high, low = sorted(
        cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"], key=lambda alarm: alarm["AlarmName"]
    )
    assert high["AlarmName"].startswith("TargetTracking-endpoint/scaled/variant/main-AlarmHigh-")
    assert (high["Threshold"], high["EvaluationPeriods"], high["Period"]) == (5.0, 3, 10)
    assert (low["Threshold"], low["EvaluationPeriods"]) == (4.5, 15)
    assert high["AlarmActions"] == [policy["PolicyARN"]]
    assert _track(autoscaling, resource)["PolicyARN"] == policy["PolicyARN"]
    autoscaling.deregister_scalable_target(**resource)
    assert not cloudwatch.describe_alarms(AlarmNamePrefix="TargetTracking-")["MetricAlarms"]
    assert not autoscaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]


def test_what_is_not_there_is_said_in_the_words_of_aws(autoscaling: Any, resource: dict[str, str]) -> None:
    missing = autoscaling.exceptions.ObjectNotFoundException
    with pytest.raises(missing, match="No scalable target registered for service namespace: sagemaker, resource ID"):
        autoscaling.deregister_scalable_target(**resource)
    with pytest.raises(missing, match="No scalable target registered"):
        _track(autoscaling, resource)
    with pytest.raises(missing, match=r"No scaling policy found .* policy name: p"):
        autoscaling.delete_scaling_policy(**resource, PolicyName="p")


def test_alarm_scales_out_within_the_limits(twin: RunningTwin, autoscaling: Any, resource: dict[str, str]) -> None:
    autoscaling.register_scalable_target(**resource, MinCapacity=1, MaxCapacity=3)
    policy = _track(autoscaling, resource)
    high = next(alarm["AlarmName"] for alarm in policy["Alarms"] if "AlarmHigh" in alarm["AlarmName"])
    twin.client("cloudwatch").set_alarm_state(AlarmName=high, StateValue="ALARM", StateReason="test")
    activity = eventually(lambda: _activities(autoscaling, "Setting desired instance count to 2."))
    assert activity["StatusCode"] == "Successful"
    assert f"monitor alarm {high} in state ALARM triggered policy" in activity["Cause"]


def test_count_below_the_minimum_is_raised(twin: RunningTwin, autoscaling: Any, resource: dict[str, str]) -> None:
    await_status(twin, "scaled", "InService")
    autoscaling.register_scalable_target(**resource, MinCapacity=3, MaxCapacity=4)
    activity = eventually(lambda: _activities(autoscaling, "Setting desired instance count to 3."))
    assert activity["Cause"] == "minimum capacity was set to 3"
    await_status(twin, "scaled", "InService")
    variant = twin.client("sagemaker").describe_endpoint(EndpointName="scaled")["ProductionVariants"][0]
    assert variant["DesiredInstanceCount"] == 3


def test_instance_type_stays_under_a_registered_target(
    twin: RunningTwin, autoscaling: Any, resource: dict[str, str], model: str
) -> None:
    await_status(twin, "scaled", "InService")
    made_config(twin, "scaled-other", model, InstanceType="ml.g5.2xlarge")
    autoscaling.register_scalable_target(**resource, MinCapacity=1, MaxCapacity=4)
    sagemaker = twin.client("sagemaker")
    with pytest.raises(ClientError, match=r'The variant\(s\) "\[main\]" must be deregistered as scalable targets'):
        sagemaker.update_endpoint(EndpointName="scaled", EndpointConfigName="scaled-other")
    autoscaling.deregister_scalable_target(**resource)
    sagemaker.update_endpoint(EndpointName="scaled", EndpointConfigName="scaled-other")
    await_status(twin, "scaled", "InService")


def test_what_the_twin_does_not_judge_is_refused_as_that(autoscaling: Any, resource: dict[str, str]) -> None:
    autoscaling.register_scalable_target(**resource, MinCapacity=1, MaxCapacity=4)
    action = {"ScheduledActionName": "s", "Schedule": "rate(1 day)", "ScalableTargetAction": {"MinCapacity": 2}}
    with pytest.raises(ClientError, match="does not judge application-autoscaling:PutScheduledAction"):
        autoscaling.put_scheduled_action(**resource, **action)
    assert autoscaling.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"] == []
    queries = [{"Id": "e", "Expression": "1 + 1", "ReturnData": True}]
    with pytest.raises(ClientError, match="does not judge metric math"):
        autoscaling.put_scaling_policy(
            **resource,
            PolicyName="maths",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": 5.0,
                "CustomizedMetricSpecification": {"Metrics": queries},
            },
        )


def _track(client: Any, resource: dict[str, str]) -> dict[str, Any]:
    tracking = {"TargetValue": 5.0, "PredefinedMetricSpecification": {"PredefinedMetricType": METRIC}}
    return client.put_scaling_policy(
        **resource,
        PolicyName="concurrency",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=tracking,
    )


def _activities(client: Any, description: str) -> dict[str, Any] | None:
    found = client.describe_scaling_activities(ServiceNamespace="sagemaker")["ScalingActivities"]
    return next((activity for activity in found if activity["Description"] == description), None)
