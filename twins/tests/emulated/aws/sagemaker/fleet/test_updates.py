"""Updates of endpoints: policies, roll-backs and canaries lose no request."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.servers.serving import until
from twins.tests.support.aws import await_status
from twins.tests.support.aws_fleet import Cloud, Load, blue_green

FAILED_PING = "The primary container for production variant main did not pass the ping health check."


def test_an_update_whose_containers_fail_leaves_the_old_ones(cloud: Cloud, load: Callable[[str], Load]) -> None:
    cloud.create("kept", cloud.of_version("1"))
    running = load("kept")
    found = cloud.update("kept", cloud.of_version("2", CRASH="bad"))
    assert found["EndpointStatus"] == "InService"
    assert found["FailureReason"].startswith(FAILED_PING)
    running.stop()
    assert set(running.answers) == {"1"}


def test_an_update_that_is_rolled_back_silently_leaves_the_old_ones(cloud: Cloud) -> None:
    cloud.create("silent", cloud.of_version("1"))
    cloud.twin.fault("rollback", endpoint="silent")
    assert "FailureReason" not in cloud.update("silent", cloud.of_version("2"))
    assert cloud.ask("silent")["text"] == "1"
    until(lambda: len(cloud.instances("silent")) == 1)


@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        (blue_green(wait=60), "at once"),
        ({"RollingUpdatePolicy": {"MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
                                  "WaitIntervalInSeconds": 60}}, "rolling"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_an_update_loses_no_request(
    cloud: Cloud, load: Callable[[str], Load], policy: dict[str, Any], shown: str
) -> None:
    cloud.create("updated", cloud.of_version("1", count=2))
    running = load("updated")
    until(lambda: running.saw("1"))
    found = cloud.update("updated", cloud.of_version("2", count=2), **policy)
    assert (found["EndpointStatus"], found.get("FailureReason")) == ("InService", None), shown
    until(lambda: len(cloud.instances("updated")) == 2)
    assert {cloud.ask("updated")["text"] for _ in range(4)} == {"2"}


@pytest.mark.scorecard("bad-canary")
def test_a_canary_goes_back_on_an_alarm(cloud: Cloud, load: Callable[[str], Load]) -> None:
    rollback = cloud.alarm("canary-alarm", Namespace="Tests", MetricName="Fine")
    cloud.create("watched", cloud.of_version("1", count=2))
    running = load("watched")
    policy = blue_green("CANARY", 3600, CanarySize={"Type": "INSTANCE_COUNT", "Value": 1})
    config = cloud.of_version("2", count=2)
    cloud.pace(1)
    cloud.sagemaker.update_endpoint(
        EndpointName="watched", EndpointConfigName=config, DeploymentConfig=policy | rollback
    )
    until(lambda: running.saw("2", 1))
    cloud.pace(10)  # it bakes for two minutes from now on, however slowly the clients ask
    until(lambda: running.saw("2", 20))
    share = running.answers[running.answers.index("2") :]
    assert 0.3 < share.count("2") / len(share) < 0.7
    datum = {"MetricName": "Fine", "Value": 0.0}
    cloud.twin.client("cloudwatch").put_metric_data(Namespace="Tests", MetricData=[datum])
    await_status(cloud.twin, "watched", "RollingBack")
    cloud.pace(0.2)
    found = await_status(cloud.twin, "watched", "InService")
    assert "went into ALARM state" in found["FailureReason"]
    running.stop()
    assert {cloud.ask("watched")["text"] for _ in range(4)} == {"1"}
    until(lambda: len(cloud.instances("watched")) == 2)


def test_the_quality_that_a_container_logs_rolls_its_update_back(cloud: Cloud, load: Callable[[str], Load]) -> None:
    cloud.create("judged", cloud.of_version("1"))
    cloud.twin.client("logs").put_metric_filter(
        logGroupName="/aws/sagemaker/Endpoints/judged",
        filterName="quality",
        filterPattern='{ $.event = "quality" }',
        metricTransformations=[{"metricName": "Quality", "metricNamespace": "Tests", "metricValue": "$.score"}],
    )
    rollback = cloud.alarm("quality-alarm", Namespace="Tests", MetricName="Quality")
    running = load("judged")
    bad = cloud.of_version("2", SAYS=json.dumps({"event": "quality", "score": 0.25}))
    cloud.pace(2)  # a bake of 24 s, which ends as soon as the line is there
    found = cloud.update("judged", bad, **blue_green(wait=3600), **rollback)
    cloud.pace(0.2)
    assert "went into ALARM state" in found["FailureReason"]
    running.stop()
    assert cloud.ask("judged")["text"] == "1"
    good = cloud.of_version("3", SAYS=json.dumps({"event": "quality", "score": 1.0}))
    assert "FailureReason" not in cloud.update("judged", good, **blue_green(wait=300), **rollback)
