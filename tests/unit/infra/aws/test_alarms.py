"""An endpoint's two sets of alarms, and how often those of a rollout are wrong.

The probabilities are sums over all outcomes, of the very expression and threshold that the program declares.
"""

import math
import random
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from tests.support.checkout import CHECKOUT
from tests.unit.infra.aws.conftest import Account
from tests.unit.infra.program import Declared

RATES = (0.5, 2, 10, 50)  # canary requests between two looks
LOOKS = 30
EQUAL = 0.01  # error rate of both versions
Rule = Callable[[int, int], bool]
"""Whether the alarm rings at a number of bad requests among all."""


def alarm(declared: Declared, kind: str, part: str = "") -> dict[str, Any]:
    return declared.of(f"alarm-chat-{kind}{part}")


def metrics(alarm: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics of an alarm on an expression, by id."""
    return {query["id"]: query["metric"] for query in alarm["metricQueries"] if "metric" in query}


def rule_of(alarm: dict[str, Any], values: Callable[[int, int], dict[str, float]]) -> Rule:
    """Returns the rule of an alarm on an expression: the metric math that is used here is Python too."""
    (query,) = (query for query in alarm["metricQueries"] if query.get("returnData"))
    assert alarm["comparisonOperator"] == "GreaterThanThreshold"
    code = compile(query["expression"], alarm["name"], "eval")
    functions = {"IF": lambda test, yes, no: yes if test else no, "FILL": lambda value, _filler: value}
    return lambda bad, requests: eval(code, functions, values(bad, requests)) > alarm["threshold"]


def errors_of(declared: Declared) -> Rule:
    return rule_of(alarm(declared, "5xx"), lambda bad, requests: {"errors": bad, "rate": bad / requests})


def latency_of(declared: Declared) -> Rule:
    """The 90th percentile is above the limit where more than a tenth of the requests are."""
    found = alarm(declared, "latency")
    above = 2 * found["threshold"]
    return rule_of(found, lambda bad, n: {"requests": n, "slowest": above if bad > n / 10 else 0})


def chances(rings: Rule, bad_rate: float, looks: Iterable[int]) -> list[float]:
    """Returns the probability that an alarm has rung by each look; each is at a number of requests so far."""
    counts, rung, seen, least, found = np.array([1.0]), 0.0, 0, 1, list[float]()
    for requests in looks:
        for _ in range(requests - seen):
            counts = np.append(counts * (1 - bad_rate), 0) + np.append(0, counts * bad_rate)
        seen = requests
        while requests and least <= requests and not rings(least, requests):
            least += 1  # what rings rises with the requests
        rung, counts = rung + float(counts[least:].sum()), counts[:least]
        found.append(rung)
    return found


@pytest.mark.parametrize("rate", RATES)
def test_equal_versions_are_rolled_back_in_fewer_than_one_of_a_hundred_rollouts(rate: float, plain: Declared) -> None:
    looks = [math.floor(rate * look) for look in range(1, LOOKS + 1)]
    errors = errors_of(plain)
    exact = chances(errors, EQUAL, looks)[-1]
    assert exact < 0.01
    chance, rollouts = random.Random(f"{rate}"), 2000

    def rings() -> bool:
        bad = seen = 0
        for requests in looks:
            bad += sum(chance.random() < EQUAL for _ in range(requests - seen))
            seen = requests
            if bad and errors(bad, requests):
                return True
        return False

    simulated = sum(rings() for _ in range(rollouts)) / rollouts
    assert abs(simulated - exact) <= 4 * math.sqrt(max(exact, 1 / rollouts) / rollouts)


def test_no_traffic_and_no_time_makes_a_false_rollback_likelier_than_one_in_a_hundred(plain: Declared) -> None:
    """A look after each request is the worst case; errors and latency together."""
    looks = range(1, 5000)
    assert chances(errors_of(plain), EQUAL, looks)[-1] + chances(latency_of(plain), 0.02, looks)[-1] < 0.01


@pytest.mark.parametrize("limit", [0.01, 0.2, 0.5])
def test_another_limit_keeps_that_for_a_fifth_of_it(limit: float, account: Account, model: str) -> None:
    config = {"endpoints": {"chat": {"model": model}}, "aws": {"alarms": {"error_rate": limit}}}
    declared = account.provision(config)
    assert alarm(declared, "5xx")["threshold"] == limit
    assert chances(errors_of(declared), limit / 5, range(1, 5000))[-1] < 0.01


def test_the_page_says_how_soon_a_bad_version_is_found(plain: Declared) -> None:
    page = (CHECKOUT / "docs/how-to/rollouts.md").read_text()
    rows = re.findall(r"^\| (\d+) % \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    assert len(rows) >= 4
    for percent, half, most in rows:
        by_request = chances(errors_of(plain), int(percent) / 100, range(1, 200))
        found = [sum(chance < share for chance in by_request) + 1 for share in (0.5, 0.9)]
        assert found == [int(half), int(most)], f"{percent} %"


def test_alarms_of_a_rollout_watch_the_new_configuration_alone(plain: Declared, account: Account, model: str) -> None:
    of_new = {
        "EndpointName": account.names.of("chat"),
        "VariantName": "main",
        "EndpointConfigName": plain.of("configuration-chat")["name"],
    }
    for kind, metric, statistics in (
        ("5xx", "Invocation5XXErrors", {"errors": "Sum", "rate": "Average"}),
        ("latency", "ModelLatency", {"requests": "SampleCount", "slowest": "p90"}),
    ):
        found = metrics(alarm(plain, kind))
        assert {id_: of["stat"] for id_, of in found.items()} == statistics
        assert {of["metricName"] for of in found.values()} == {metric}
        assert all(of["dimensions"] == of_new for of in found.values())
        assert {of["period"] for of in found.values()} == {300}, "the default bake"
    assert alarm(plain, "latency")["threshold"] == 20e6, "microseconds"
    quality, namespaced = alarm(plain, "quality"), plain.of("quality-chat")["metricTransformation"]
    assert (quality["namespace"], quality["metricName"]) == (namespaced["namespace"], namespaced["name"])
    assert quality["dimensions"] == {"Sha256": model.partition("sha256:")[2]}
    assert (quality["statistic"], quality["comparisonOperator"]) == ("Minimum", "LessThanThreshold")
    for kind in ("5xx", "latency", "quality"):
        assert alarm(plain, kind)["evaluationPeriods"] == 1
        assert alarm(plain, kind)["treatMissingData"] == "notBreaching"
        assert alarm(plain, kind)["alarmActions"] == ["arn:of:alarms"]


@pytest.mark.parametrize(
    ("rollout", "seconds"),
    [
        ({"strategy": "canary", "bake_seconds": 450}, 900),
        ({"strategy": "linear", "step_percent": 25, "bake_seconds": 100}, 420),
        ({"bake_seconds": 10}, 300),
    ],
)
def test_an_alarm_sees_a_rollout_as_a_whole(
    rollout: dict[str, Any], seconds: int, account: Account, model: str
) -> None:
    entry = {"model": model, "rollout": rollout, "size": {"instances": 2}}
    declared = account.provision({"endpoints": {"chat": entry}})
    periods = {of["period"] for kind in ("5xx", "latency") for of in metrics(alarm(declared, kind)).values()}
    assert periods == {alarm(declared, "quality")["period"]} == {declared.of("quiet-chat")["window"]} == {seconds}


def test_operating_alarms_watch_whatever_serves(plain: Declared, account: Account, model: str) -> None:
    """Neither a configuration nor a version is in them: they need no update, and a rollback blinds none."""
    of_endpoint = {"EndpointName": account.names.of("chat"), "VariantName": "main"}
    for kind in ("5xx", "latency"):
        assert alarm(plain, kind, "-serving")["dimensions"] == of_endpoint
    quality, namespaced = alarm(plain, "quality", "-serving"), plain.of("serving-quality-chat")["metricTransformation"]
    assert (quality["namespace"], quality["metricName"]) == (namespaced["namespace"], namespaced["name"])
    assert not quality.get("dimensions")
    assert not namespaced.get("dimensions")
    assert quality["period"] >= 2 * 300, "servers ask every five minutes"
    assert quality["treatMissingData"] == "missing", "no score is not a good one"
    other = account.provision({"endpoints": {"chat": {"model": account.add_version("chatbot@9")}}})
    for kind in ("5xx", "latency", "quality"):
        assert alarm(other, kind, "-serving") == alarm(plain, kind, "-serving"), "another version changes nothing"
        assert alarm(plain, kind, "-serving")["alarmActions"] == alarm(plain, kind, "-serving")["okActions"]
        assert alarm(other, kind) != alarm(plain, kind)
    watched = plain.of("endpoint-chat")["deploymentConfig"]["autoRollbackConfiguration"]["alarms"]
    assert not {each["alarmName"] for each in watched} & {
        alarm(plain, kind, "-serving")["name"] for kind in ("5xx", "latency", "quality")
    }
