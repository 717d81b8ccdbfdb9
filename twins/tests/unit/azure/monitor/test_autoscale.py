"""Autoscale: who says out, who says in, and how far."""

from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure.monitor.autoscale import Autoscale
from llmops_twins.azure.monitor.services.monitor import AUTOSCALE
from llmops_twins.azure.protocol.calls import Document
from twins.tests.unit.azure.services.workspace import Workspace

ENDPOINT, DEPLOYMENT = "/onlineEndpoints/chat", "/onlineEndpoints/chat/deployments/chat-a"


class Told:
    """A metric that is what it is told to be."""

    value_now: float | None = 0.0

    def value(self, *_: Any) -> float | None:
        return self.value_now


class Scaled:
    """A deployment between 1 and 4 instances, and what scales it."""

    def __init__(self, home: Path) -> None:
        self.ml = Workspace(home, pace=0.0).make()
        self.ml.ok(ENDPOINT, self.ml.endpoint())
        self.ml.ok(DEPLOYMENT, self.ml.deployment())
        self.told = Told()
        insights: Any = self.told
        self.autoscale = Autoscale(self.ml.twin, insights)

    def after(self, value: float | None, *rules: Document) -> int:
        """The instances after one evaluation with this value of the metric."""
        self.told.value_now = value
        profile = {"name": "p", "capacity": {"minimum": "1", "maximum": "4", "default": "1"}, "rules": list(rules)}
        target = f"{self.ml.id}{DEPLOYMENT}"
        properties = {"enabled": True, "targetResourceUri": target, "profiles": [profile]}
        self.autoscale.evaluate({"id": f"{self.ml.group}/providers/{AUTOSCALE}/load", "properties": properties})
        self.ml.arm.pass_time()
        return self.ml.get(DEPLOYMENT).body["sku"]["capacity"]


@pytest.fixture
def scaled(tmp_path: Path) -> Scaled:
    return Scaled(tmp_path)


def rule(operator: str, threshold: float, direction: str, value: str = "1", kind: str = "ChangeCount") -> Document:
    trigger = {
        "metricName": "RequestsPerMinute",
        "metricResourceUri": "/x",
        "operator": operator,
        "threshold": threshold,
        "timeWindow": "PT5M",
    }
    action = {"direction": direction, "type": kind, "value": value, "cooldown": "PT5M"}
    return {"metricTrigger": trigger, "scaleAction": action}


def test_out_by_one_rule_and_in_by_all(scaled: Scaled) -> None:
    busy, idle = rule("GreaterThan", 10, "Increase", "2"), rule("LessThan", 5, "Decrease")
    quiet = rule("LessThan", 2, "Decrease")
    assert scaled.after(11, busy, idle) == 3
    assert scaled.after(7, busy, idle) == 3
    assert scaled.after(3, busy, idle, quiet) == 3  # one of those that say in does not
    assert scaled.after(1, busy, idle, quiet) == 2
    assert scaled.after(None, busy, idle) == 2  # nothing is known


def test_limits_exact_counts_and_shares(scaled: Scaled) -> None:
    assert scaled.after(11, rule("GreaterThan", 10, "Increase", "9")) == 4
    assert scaled.after(11, rule("GreaterThan", 10, "Increase", "2", "ExactCount")) == 2
    assert scaled.after(11, rule("GreaterThanOrEqual", 11, "Increase", "50", "PercentChangeCount")) == 3


def test_a_cool_down_is_kept(tmp_path: Path) -> None:
    scaled = Scaled(tmp_path)
    busy = rule("GreaterThan", 10, "Increase")
    assert scaled.after(11, busy) == 2
    scaled.ml.twin.set_settings(pace=300.0)
    assert scaled.after(11, busy) == 2
