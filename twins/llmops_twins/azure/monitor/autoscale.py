"""Autoscale settings of deployments: evaluated over their metrics, and applied to their instances.

https://learn.microsoft.com/azure/azure-monitor/autoscale/autoscale-understanding-settings
"""

import logging
import math
import time
from collections.abc import Callable
from typing import Any

from llmops_twins.azure.arm import arm
from llmops_twins.azure.ml.endpoints import DEPLOYMENTS
from llmops_twins.azure.ml.ml_bodies import writable
from llmops_twins.azure.ml.ml_documents import seconds
from llmops_twins.azure.monitor.insights import Insights, dimensions_of
from llmops_twins.azure.monitor.services.monitor import AUTOSCALE
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.protocol.ids import key
from llmops_twins.azure.twin import TenantTwin

EVERY_SECONDS = 60.0
"""Approximate interval at which Azure evaluates a setting."""
SHORTEST_SECONDS = 1.0
"""Shortest window of metrics here, however fast the twin's time runs: requests take real time."""
_STATE = "autoscale"
_LOOK_SECONDS = 0.25
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "Equals": lambda a, b: a == b,
    "Equal": lambda a, b: a == b,
    "NotEquals": lambda a, b: a != b,
    "GreaterThan": lambda a, b: a > b,
    "GreaterThanOrEqual": lambda a, b: a >= b,
    "GreaterOrLessThan": lambda a, b: a != b,
    "LessThan": lambda a, b: a < b,
    "LessThanOrEqual": lambda a, b: a <= b,
}
log = logging.getLogger("llmops_twins.azure")


class Autoscale:
    """Evaluates the settings of a subscription, with the twin's lock held."""

    def __init__(self, twin: TenantTwin, insights: Insights) -> None:
        self._twin = twin
        self._insights = insights
        self._next = 0.0
        twin.every(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + max(_LOOK_SECONDS, self._twin.scaled(EVERY_SECONDS))
        for setting in [each for each in self._twin.resources.values() if each["type"] == AUTOSCALE]:
            try:
                self.evaluate(setting)
            except ArmError as e:
                log.warning("autoscale setting %s: %s", setting["name"], e.message)

    def evaluate(self, setting: Document) -> None:
        """Scales the target of a setting if it is due."""
        properties = setting["properties"]
        target = self._twin.find(properties.get("targetResourceUri") or "")
        profile = _profile(properties)
        if not properties.get("enabled") or not profile or not target or target["type"] != DEPLOYMENTS:
            return
        if target["properties"].get("provisioningState") != "Succeeded":
            return
        now = int((target.get("sku") or {}).get("capacity") or 1)
        least, most = (int(profile["capacity"][name]) for name in ("minimum", "maximum"))
        wanted = min(most, max(least, self._wanted(setting, profile, now)))
        if wanted != now:
            self._apply(setting, target, wanted)

    def _wanted(self, setting: Document, profile: Document, now: int) -> int:
        """Returns the wanted number of instances: scales out if one rule fires, and in if all rules for that do."""
        rules = profile.get("rules") or []
        out = [each for each in rules if each["scaleAction"]["direction"] == "Increase"]
        if fired := [each for each in out if self._fires(each, now)]:
            return max(_changed(each["scaleAction"], now) for each in fired) if self._rested(setting, fired) else now
        into = [each for each in rules if each["scaleAction"]["direction"] == "Decrease"]
        if into and all(self._fires(each, now) for each in into) and self._rested(setting, into):
            return max(_changed(each["scaleAction"], now) for each in into)
        return now

    def _fires(self, rule: Document, instances: int) -> bool:
        trigger = rule["metricTrigger"]
        window = seconds(trigger["timeWindow"], "timeWindow")
        end = time.time()
        begin = end - max(SHORTEST_SECONDS, self._twin.scaled(window))
        dimensions = dimensions_of(trigger.get("dimensions") or [], "DimensionName", "Values")
        name, resource = trigger["metricName"], trigger["metricResourceUri"]
        value = self._insights.value(resource, name, begin, end, dimensions)
        if value is None:
            return False
        if trigger.get("dividePerInstance"):
            value /= max(1, instances)
        return COMPARISONS[trigger["operator"]](value, float(trigger["threshold"]))

    def _rested(self, setting: Document, rules: list[Document]) -> bool:
        """Returns whether the longest cool-down of these rules has passed since the last change."""
        last = self._twin.state.get(_STATE, {}).get(key(setting["id"]), 0.0)
        pause = max(seconds(each["scaleAction"]["cooldown"], "cooldown") for each in rules)
        return time.time() - last >= self._twin.scaled(pause)

    def _apply(self, setting: Document, target: Document, capacity: int) -> None:
        body = writable("OnlineDeployment", target)
        body["sku"] = {**body["sku"], "capacity": capacity}
        arm.put(self._twin, target["id"], body)
        self._twin.state.setdefault(_STATE, {})[key(setting["id"])] = time.time()
        self._twin.changed()


def _profile(properties: Document) -> Document | None:
    """Returns the default profile; the twin ignores those for fixed dates and recurrences."""
    profiles = properties.get("profiles") or []
    return next((each for each in profiles if not each.get("recurrence") and not each.get("fixedDate")), None)


def _changed(action: dict[str, Any], now: int) -> int:
    value, sign = float(action["value"]), 1 if action["direction"] == "Increase" else -1
    if action["type"] == "ExactCount":
        return int(value)
    if action["type"] == "PercentChangeCount":
        return now + sign * max(1, math.floor(now * value / 100))
    return now + sign * int(value)
