"""A deployment configuration as steps in time, and the sizes that AWS does not allow."""

from pathlib import Path
from typing import Any

import pytest

from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.sagemaker.endpoints import guardrails
from llmops_twins.aws.twin import AWS_TRANSITION_SECONDS, AccountTwin


def config(count: int) -> dict[str, Any]:
    return {"ProductionVariants": [{"VariantName": "main", "InitialInstanceCount": count}]}


def blue_green(kind: str, **more: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": 60, **more}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": 30}}


def rolling(kind: str, value: int) -> dict[str, Any]:
    size = {"Type": kind, "Value": value}
    return {"RollingUpdatePolicy": {"MaximumBatchSize": size, "WaitIntervalInSeconds": 60}}


def shares(deployment: dict[str, Any] | None, count: int) -> list[float]:
    found = guardrails.steps(deployment, config(count))
    return [step["share"] for step in found if step["status"] == "Baking"]


@pytest.mark.parametrize(
    ("deployment", "count", "expected"),
    [
        (None, 1, [100]),
        (blue_green("ALL_AT_ONCE"), 1, [100]),
        (blue_green("CANARY", CanarySize={"Type": "CAPACITY_PERCENT", "Value": 25}), 4, [25, 100]),
        (blue_green("CANARY", CanarySize={"Type": "INSTANCE_COUNT", "Value": 2}), 4, [50, 100]),
        (blue_green("LINEAR", LinearStepSize={"Type": "CAPACITY_PERCENT", "Value": 50}), 4, [50, 100]),
        (blue_green("LINEAR", LinearStepSize={"Type": "INSTANCE_COUNT", "Value": 1}), 3, [100 / 3, 200 / 3, 100]),
        (rolling("INSTANCE_COUNT", 1), 4, [25, 50, 75, 100]),
        (rolling("CAPACITY_PERCENT", 50), 4, [50, 100]),
    ],
)
def test_the_traffic_moves_in_these_steps(deployment: dict[str, Any], count: int, expected: list[float]) -> None:
    assert shares(deployment, count) == pytest.approx(expected)


def test_a_step_lasts_as_long_as_it_says() -> None:
    found = guardrails.steps(blue_green("ALL_AT_ONCE"), config(1))
    assert [step["seconds"] for step in found] == [AWS_TRANSITION_SECONDS, 60, 30]
    found = guardrails.steps(rolling("INSTANCE_COUNT", 1), config(2))
    assert [step["seconds"] for step in found] == [AWS_TRANSITION_SECONDS / 2, 60, AWS_TRANSITION_SECONDS / 2, 60]


@pytest.mark.parametrize(
    ("deployment", "count"),
    [
        (rolling("INSTANCE_COUNT", 1), 1),
        (rolling("CAPACITY_PERCENT", 50), 1),
        (rolling("INSTANCE_COUNT", 3), 4),
        (blue_green("CANARY", CanarySize={"Type": "INSTANCE_COUNT", "Value": 1}), 1),
        (blue_green("CANARY"), 4),
        (blue_green("LINEAR", LinearStepSize={"Type": "INSTANCE_COUNT", "Value": 1}), 11),
        (blue_green("LINEAR", LinearStepSize={"Type": "CAPACITY_PERCENT", "Value": 9}), 4),
        (rolling("CAPACITY_PERCENT", 4), 4),
        (blue_green("ALL_AT_ONCE") | rolling("INSTANCE_COUNT", 1), 4),
    ],
)
def test_sizes_that_aws_does_not_allow(tmp_path: Path, deployment: dict[str, Any], count: int) -> None:
    with pytest.raises(AwsApiError) as refusal:
        guardrails.check(AccountTwin(tmp_path), "us-east-1", deployment, config(count))
    assert refusal.value.code == "ValidationException"


def test_alarms_are_looked_up_by_name(tmp_path: Path) -> None:
    deployment = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}}
    assert guardrails.alarm_names(deployment) == ["errors"]
    assert guardrails.ringing(AccountTwin(tmp_path), "us-east-1", deployment) == []
    with pytest.raises(AwsApiError, match="errors"):
        guardrails.check(AccountTwin(tmp_path), "us-east-1", deployment, config(1))
