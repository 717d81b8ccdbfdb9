"""Weights and instances of variants: changed by a client, a scaling policy, or a setting of the twin."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.servers.serving import until
from twins.tests.support.aws import await_status
from twins.tests.support.aws_fleet import Cloud, Load


def test_weights_are_kept_exactly_and_can_be_changed(cloud: Cloud) -> None:
    one, two = cloud.model(VERSION="1"), cloud.model(VERSION="2")
    variants = [
        {"VariantName": "one", "ModelName": one, "InitialVariantWeight": 3.0},
        {"VariantName": "two", "ModelName": two, "InitialVariantWeight": 1.0},
    ]
    cloud.create("weighed", cloud.config(*variants))
    assert Counter(cloud.ask("weighed")["text"] for _ in range(8)) == {"1": 6, "2": 2}
    assert cloud.ask("weighed", TargetVariant="two")["InvokedProductionVariant"] == "two"
    cloud.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="weighed", DesiredWeightsAndCapacities=[{"VariantName": "one", "DesiredWeight": 0.0}]
    )
    await_status(cloud.twin, "weighed", "InService")
    assert {cloud.ask("weighed")["text"] for _ in range(4)} == {"2"}


def test_capacity_is_of_real_containers(cloud: Cloud, load: Callable[[str], Load]) -> None:
    cloud.create("scaled", cloud.of_version("1"))
    running = load("scaled")

    def scale(count: int) -> dict[str, Any]:
        wanted = [{"VariantName": "main", "DesiredInstanceCount": count}]
        cloud.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="scaled", DesiredWeightsAndCapacities=wanted
        )
        return await_status(cloud.twin, "scaled", "InService")

    assert scale(3)["ProductionVariants"][0]["CurrentInstanceCount"] == 3
    found = cloud.instances("scaled")
    assert len({each["pid"] for each in found} - {0}) == 3
    assert [each["state"] for each in found] == ["in service"] * 3
    cloud.twin.fault("capacity", instance_type="ml.m5.xlarge", times=1)
    refused = scale(4)
    assert "InsufficientInstanceCapacity" in refused["FailureReason"]
    assert refused["ProductionVariants"][0]["DesiredInstanceCount"] == 3
    scale(1)
    until(lambda: len(cloud.instances("scaled")) == 1)
    running.stop()


def test_a_scaling_policy_follows_the_requests(cloud: Cloud, load: Callable[[str], Load]) -> None:
    cloud.create("followed", cloud.of_version("1"))
    scaling = cloud.twin.client("application-autoscaling")
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/followed/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=2)
    metric = {"PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"}
    tracking = {"TargetValue": 0.5, "PredefinedMetricSpecification": metric}
    scaling.put_scaling_policy(
        **target,
        PolicyName="requests",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={**tracking, "ScaleInCooldown": 0, "ScaleOutCooldown": 0},
    )
    running = load("followed")
    until(lambda: len({each["pid"] for each in cloud.instances("followed")} - {0}) == 2)
    running.stop()
    until(lambda: len(cloud.instances("followed")) == 1)


def test_containers_come_and_go_with_the_setting(cloud: Cloud) -> None:
    cloud.create("told", cloud.of_version("1"))
    cloud.twin.ask("PUT", "settings", {"containers": "none"})
    until(lambda: not cloud.instances("told"))
    with pytest.raises(ClientError, match="runs no containers"):
        cloud.ask("told")
    cloud.twin.ask("PUT", "settings", {"containers": "run"})
    until(lambda: [each["state"] for each in cloud.instances("told")] == ["in service"])
    assert cloud.ask("told")["text"] == "1"
