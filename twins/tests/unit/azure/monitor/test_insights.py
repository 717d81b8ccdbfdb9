"""Metrics: what a filter means, and values of answers."""

import time
from pathlib import Path

import pytest

from llmops_twins.azure.monitor.insights import Insights
from llmops_twins.azure.runner import Runner
from twins.tests.unit.azure.services.workspace import Workspace

VERSION = "2024-02-01"


@pytest.fixture
def ml(tmp_path: Path) -> Workspace:
    found = Workspace(tmp_path).make()
    found.ok("/onlineEndpoints/chat", found.endpoint())
    runner = found.twin.running = Runner(found.twin)
    for status, model, seconds in ((200, 200, 0.1), (200, 200, 0.3), (424, 500, 0.2), (429, 0, 0.0)):
        runner.meter.count(f"{found.id}/onlineEndpoints/chat", "blue", status, model, seconds)
    return found


def total(ml: Workspace, name: str, wanted: str = "", **more: str) -> dict[str, float]:
    """Sums of a metric's points, by the values of its dimensions."""
    path = f"{ml.id}/onlineEndpoints/chat/providers/Microsoft.Insights/metrics"
    query = {"metricnames": name, "timespan": "PT10M", **({"$filter": wanted} if wanted else {}), **more}
    answer = ml.arm.call("GET", path, VERSION, None, **query)
    assert answer.status == 200, answer.body
    return {
        " ".join(each["value"] for each in series["metadatavalues"]): sum(p.get("average") or 0 for p in series["data"])
        for series in answer.body["value"][0]["timeseries"]
    }


def test_requests_by_dimension(ml: Workspace) -> None:
    assert total(ml, "RequestsPerMinute") == {"": 4}
    assert total(ml, "RequestsPerMinute", "deployment eq 'green'") == {"green": 0}
    assert total(ml, "RequestsPerMinute", "statusCode eq '*' AND deployment eq 'Blue'") == {
        "Blue 200": 2,
        "Blue 424": 1,
        "Blue 429": 1,
    }
    assert total(ml, "RequestsPerMinute", "statusCodeClass eq '4xx'") == {"4xx": 2}


def test_a_rate_is_per_minute_of_the_window_that_was_looked_at(ml: Workspace) -> None:
    runner, now = ml.twin.running, time.time()
    assert isinstance(runner, Runner)
    insights = Insights(ml.twin, runner.meter)
    chat = f"{ml.id}/onlineEndpoints/chat"
    for window, rate in ((60.0, 4.0), (1.0, 240.0)):
        assert insights.value(chat, "RequestsPerMinute", now + 0.5 - window, now + 0.5, {}) == pytest.approx(rate)
    assert insights.value(chat, "NewConnectionsPerSecond", now - 0.5, now + 0.5, {}) == pytest.approx(4)


def test_ten_series_are_answered_unless_more_are_asked_for(ml: Workspace) -> None:
    runner = ml.twin.running
    assert isinstance(runner, Runner)
    for status in range(400, 412):
        runner.meter.count(f"{ml.id}/onlineEndpoints/chat", "blue", 424, status, 0.1)
    wanted = "deployment eq 'blue' and statusCode eq '*' and modelStatusCode eq '*'"
    assert len(total(ml, "RequestsPerMinute", wanted)) == 10
    assert len(total(ml, "RequestsPerMinute", wanted, top="1000")) == 15


def test_latency_in_milliseconds_of_what_was_answered(ml: Workspace) -> None:
    assert total(ml, "RequestLatency") == {"": pytest.approx(200)}
    assert total(ml, "RequestLatency_P90") == {"": 300}
    assert total(ml, "RequestLatency_P50", "deployment eq '*'") == {"blue": 200}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"metricnames": "Happiness"}, "Failed to find metric configuration"),
        ({"metricnames": "CpuUtilizationPercentage"}, "Failed to find metric configuration"),
        ({"metricnames": "RequestLatency", "$filter": "statusCode eq '200'"}, "has no dimension statusCode"),
        ({"metricnames": "RequestsPerMinute", "$filter": "deployment ne 'a'"}, "is not understood"),
        ({"metricnames": "RequestsPerMinute", "timespan": "a/b"}, "is not begin/end"),
        ({"metricnames": "RequestsPerMinute", "timespan": "P7D"}, "more than 1440 intervals"),
        ({"metricnames": "RequestsPerMinute", "aggregation": "Mode"}, "Aggregations are"),
    ],
)
def test_what_is_refused(ml: Workspace, query: dict[str, str], words: str) -> None:
    path = f"{ml.id}/onlineEndpoints/chat/providers/Microsoft.Insights/metrics"
    answer = ml.arm.call("GET", path, VERSION, None, **query)
    assert answer.status == 400
    assert words in answer.body["error"]["message"]
