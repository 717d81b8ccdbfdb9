"""What becomes of endpoints, and what it costs, from resources as a preview shows them."""

from typing import Any

import pytest

from llmops_kit.cli.commands.plan import _together
from llmops_kit.cli.interfaces.changes import ResourceChange
from llmops_kit.cli.interfaces.costs import CostLine, Total, endpoint_costs, token_costs, total
from llmops_kit.cli.interfaces.endpoint_plans import EndpointPlan
from llmops_kit.cli.interfaces.quotas import Machines, QuotaNeed, instances_needed
from llmops_kit.cli.machines.prices import Prices
from llmops_kit.cli.plan.aws import (
    ALARM,
    CONFIGURATION,
    ENDPOINT,
    SCALING,
    plan_endpoints,
    resource_costs,
    run_machines,
)
from llmops_kit.policies.model import Resource
from llmops_kit.settings.stack_settings import Settings
from tests.support.clouds.settings import resolved

TABLE = {
    "regions": {
        "us-east-1": {
            "hosting": {"source": "list", "date": "2026-04-21", "prices": {"ml.g5.xlarge": 1.408}},
            "network": {"source": "page", "date": "2026-01-01", "prices": {"vpc_endpoint_zone_hour": 0.01}},
        }
    }
}


def blue_green(kind: str, wait: int = 300, **size: Any) -> dict[str, Any]:
    routing = {"type": kind, "waitIntervalInSeconds": wait, **size}
    return {"blueGreenUpdatePolicy": {"trafficRoutingConfiguration": routing, "terminationWaitInSeconds": 0}}


def planned(
    deployment: dict[str, Any], instances: int = 4, change: str = "update", ami: str = "", **entry: Any
) -> EndpointPlan:
    variant = {"instanceType": "ml.g5.xlarge", "initialInstanceCount": instances, "inferenceAmiVersion": ami}
    resources = [
        Resource(ENDPOINT, "endpoint-chatbot", {"endpointConfigName": "c-1", "deploymentConfig": deployment}),
        Resource(CONFIGURATION, "configuration-chatbot", {"name": "c-1", "productionVariants": [variant]}),
    ]
    changes = [ResourceChange(change, "endpoint", "endpoint-chatbot")] if change != "none" else []
    entries = {"chatbot": {"model": f"chatbot@2@sha256:{'2' * 64}", **entry}}
    endpoints = resolved(Settings.model_validate({"target": "aws", "endpoints": entries})).endpoints
    (found,) = plan_endpoints(resources, changes, endpoints, {"chatbot": f"chatbot@1@sha256:{'1' * 64}"})
    return found


@pytest.mark.parametrize(
    ("deployment", "instances", "words", "seconds", "during"),
    [
        (blue_green("ALL_AT_ONCE"), 4, "all at once", 300, 8),
        (blue_green("CANARY", canarySize={"type": "CAPACITY_PERCENT", "value": 25}), 4, "canary: 1 of 4", 300, 8),
        (blue_green("LINEAR", linearStepSize={"type": "CAPACITY_PERCENT", "value": 50}), 4, "linear: 2 of 4", 600, 8),
        (
            {
                "rollingUpdatePolicy": {
                    "maximumBatchSize": {"type": "INSTANCE_COUNT", "value": 1},
                    "waitIntervalInSeconds": 60,
                }
            },
            4,
            "rolling, 1 of 4",
            240,
            5,
        ),
        ({}, 1, "all at once", 0, 2),
    ],
)
def test_the_rollout_that_will_be_used(
    deployment: dict[str, Any], instances: int, words: str, seconds: int, during: int
) -> None:
    plan = planned(deployment, instances)
    assert plan.strategy.startswith(words)
    assert (plan.at_least_seconds, plan.during_update) == (seconds, during)
    assert (plan.before, plan.after) == ("chatbot@1", "chatbot@2")


def test_one_instance_can_not_be_shared_and_the_plan_says_so() -> None:
    plan = planned(blue_green("ALL_AT_ONCE"), 1, rollout={"strategy": "canary"})
    assert any("canary is asked for" in note for note in plan.notes)
    assert any("outage" in note for note in plan.notes)
    assert not planned(blue_green("ALL_AT_ONCE"), 2).notes


def test_an_endpoint_that_stays_takes_no_more_instances() -> None:
    assert planned(blue_green("ALL_AT_ONCE"), 4, "none").during_update == 4
    assert planned(blue_green("ALL_AT_ONCE"), 4, "create").strategy == "first deployment"


def test_the_count_of_the_stack_file_where_it_is_known_after_up_only() -> None:
    unknown: Any = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    assert planned(blue_green("ALL_AT_ONCE"), unknown, size={"instances": 3}).instances == 3


def test_scaling_sets_idle_and_busy() -> None:
    variant = {"instanceType": "ml.g5.xlarge", "initialInstanceCount": 1}
    resources = [
        Resource(ENDPOINT, "endpoint-chatbot", {"endpointConfigName": "c-1"}),
        Resource(CONFIGURATION, "c", {"name": "c-1", "productionVariants": [variant]}),
        Resource(SCALING, "scaling-chatbot", {"minCapacity": 0, "maxCapacity": 3}),
        Resource("aws:ec2/vpcEndpoint:VpcEndpoint", "ecr", {"vpcEndpointType": "Interface", "subnetIds": ["a", "b"]}),
        Resource("aws:ec2/vpcEndpoint:VpcEndpoint", "s3", {"vpcEndpointType": "Gateway"}),
        Resource("aws:kms/key:Key", "key", {}),
        Resource("aws:s3/bucket:Bucket", "store", {}),
        Resource("aws:cloudtrail/trail:Trail", "trail", {}),
    ]
    endpoints = plan_endpoints(resources, [], {}, {})
    prices = Prices("us-east-1", TABLE)
    lines = [*endpoint_costs(endpoints, prices), *resource_costs(resources, prices)]
    assert [(line.what, line.idle, line.busy) for line in lines[:2]] == [
        ("endpoint chatbot: 0 to 3 x ml.g5.xlarge", 0.0, pytest.approx(4.224)),
        ("1 interface VPC endpoints x 2 zones", 0.02, 0.02),
    ]
    assert lines[0].source == "list, 2026-04-21"
    idle, busy = total(lines, busy=False), total(lines, busy=True)
    assert (idle.usd, busy.usd) == (0.02, pytest.approx(4.244))
    assert idle.unknown == ["1 KMS keys", "what the buckets hold, and requests", "events of the trail"]
    assert instances_needed(endpoints) == {Machines("endpoint", "ml.g5.xlarge"): 3}


def test_each_metric_of_an_alarm_is_billed() -> None:
    table = {"regions": {"us-east-1": {"other": {"source": "list", "date": "d", "prices": {"alarm_month": 0.1}}}}}
    queries = [{"id": "a", "metric": {}}, {"id": "b", "metric": {}}, {"id": "result", "expression": "a / b"}]
    alarms = [Resource(ALARM, "5xx", {"metricQueries": queries}), Resource(ALARM, "quality", {"metricName": "m"})]
    (line,) = resource_costs(alarms, Prices("us-east-1", table))
    assert line.what == "2 alarms on 3 metrics"
    assert line.idle == pytest.approx(3 * 0.1 / 730)


def test_an_unknown_price_stays_unknown() -> None:
    plan = planned(blue_green("ALL_AT_ONCE"), 2)
    prices = Prices("eu-central-1", TABLE)
    (line,) = endpoint_costs([plan], prices)
    assert (line.idle, line.busy) == (None, None)
    assert "prices refresh" in line.source
    assert token_costs([plan], prices, 100.0)[0].usd is None
    assert token_costs([plan], Prices("us-east-1", TABLE), 0)[0].usd is None


def test_unknown_prices_never_sum_to_zero() -> None:
    (unknown,) = endpoint_costs([planned(blue_green("ALL_AT_ONCE"), 2)], Prices("eu-central-1", TABLE))
    known = CostLine("key", 0.5, 0.75, "list")
    assert total([unknown], busy=False) == Total(None, [unknown.what])
    assert total([], busy=False) == Total(0, [])
    some, whole = ([total(lines, busy) for busy in (False, True)] for lines in ([unknown, known], [known]))
    assert _together(*whole) == "total $0.500 an hour idle ($365 a month), $0.750 busy"
    assert _together(*some).startswith("total at least $0.500 an hour idle ($365 a month), $0.750 busy: 1 price")
    assert "$" not in _together(*[total([unknown], busy) for busy in (False, True)])


def test_a_million_tokens_from_the_measured_throughput() -> None:
    (cost,) = token_costs([planned(blue_green("ALL_AT_ONCE"))], Prices("us-east-1", TABLE), 100.0)
    assert cost.usd == pytest.approx(1.408 / 0.36)
    assert "100 tokens/s" in cost.basis


def test_a_quota_is_enough_or_not_or_not_known() -> None:
    assert QuotaNeed("x", "L-1", 4, 4).enough
    assert QuotaNeed("x", "L-1", 5, 4).enough is False
    assert QuotaNeed("x", "", 5, None).enough is None


def test_runs_take_the_machines_of_jobs_and_of_schedules() -> None:
    assert run_machines([], resolved(Settings(target="aws"))) == {Machines("training job", "ml.m5.xlarge"): 1}
    jobs = {"instance_type": "ml.g5.xlarge", "instances": 2, "spot": True}
    daily = {"run": "chatbot-1", "cron": "rate(1 day)"}
    schedules = {"weekly": {**daily, "instance_type": "ml.p4d.24xlarge"}, "daily": daily}
    settings = Settings.model_validate({"target": "aws", "aws": {"jobs": jobs, "schedules": schedules}})
    assert run_machines([], resolved(settings)) == {
        Machines("spot training job", "ml.g5.xlarge"): 2,
        Machines("spot training job", "ml.p4d.24xlarge"): 2,
    }
