"""An endpoint's alarms, in two sets: those that roll an update back, and those that watch the endpoint in operation.

Rollout alarms watch only the configuration that was deployed last: if they counted the old one's errors, an update that
replaces a failing version would be rolled back. Operating alarms watch the endpoint over all its fleets, whichever
version serves: also during a rollout, and after a rollback, when nothing reports for the new one.

https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html
https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
"""

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import cloudwatch

from llmops_kit.clouds.aws.names import SERVING, VARIANT
from llmops_kit.infra.resource_names import CloudNames
from llmops_kit.infra.targets.aws.limits import rollout_window
from llmops_kit.infra.targets.aws.resources.context import AwsContext
from llmops_kit.infra.targets.aws.resources.observe import quality_metric
from llmops_kit.settings.resolved import AlarmThresholds, ResolvedEndpoint

LEAST_ERRORS = 5
"""Failed requests before the error rate rolls an update back.

A version whose error rate is a fifth of the limit (1 % of 5 %) is rolled back in fewer than 1 % of rollouts, whatever
the traffic and however long it is watched; one that always fails, after 5 requests. tests/unit/infra/aws/test_alarms.py
computes both.
"""
LEAST_LATENCIES = 40
"""Requests before the latency rolls an update back. The same holds for a version with 2 % of its requests above the
limit, where 10 % may be.
"""
_KINDS = ("5xx", "latency", "quality")
_SAGEMAKER = "AWS/SageMaker"
_OPERATING_QUALITY_SECONDS = 600  # golden prompts are asked every 300
_Measure = dict[str, Any]


def rollout_alarm_names(names: CloudNames, endpoint: str) -> list[str]:
    """Returns the names of the alarms that roll back. They never change: the provider replaces an endpoint for that."""
    return [names.of(f"{endpoint}-{kind}") for kind in _KINDS]


@dataclass(frozen=True)
class EndpointAlarms:
    """The alarms of an endpoint."""

    stack: AwsContext
    endpoint: ResolvedEndpoint
    limits: AlarmThresholds
    topic: pulumi.Input[str]
    """ARN of the topic that is notified."""

    @property
    def name(self) -> str:
        """The endpoint's name in the settings."""
        return self.endpoint.name

    def declare_rollout(self, configuration: pulumi.Input[str]) -> list[cloudwatch.MetricAlarm]:
        """Declare the alarms that roll back an update to a configuration.

        Each sees the whole rollout as one period: CloudWatch evaluates it every minute, over a window that slides.
        """
        dimensions = {**self._dimensions, "EndpointConfigName": configuration}
        window = rollout_window(self.endpoint)
        namespace, metric = quality_metric(self.stack, self.name)
        quality: _Measure = {
            "namespace": namespace,
            "metric_name": metric,
            "dimensions": {"Sha256": self._sha256},  # the old version may report at the same time
            "statistic": "Minimum",
            "period": window,
        }
        measures = (
            _above(self.limits.error_rate, metric_queries=_rate_of_errors(dimensions, window)),
            _above(self.limits.latency_seconds * 1e6, metric_queries=_latency(dimensions, window)),
            self._below_quality(quality),
        )
        return [
            cloudwatch.MetricAlarm(
                f"alarm-{self.name}-{kind}",
                name=alarm,
                alarm_description=f"{kind} of the configuration that was deployed last to endpoint {self.name}: "
                "SageMaker rolls an update to it back",
                treat_missing_data="notBreaching",  # no traffic yet
                alarm_actions=[self.topic],
                evaluation_periods=1,
                datapoints_to_alarm=1,
                **measure,
                opts=self.stack.options(),
            )
            for kind, alarm, measure in zip(
                _KINDS, rollout_alarm_names(self.stack.names, self.name), measures, strict=True
            )
        ]

    def declare_operating(self) -> None:
        """Declare the alarms on the endpoint, whichever version serves."""
        of_endpoint: _Measure = {"namespace": _SAGEMAKER, "dimensions": self._dimensions, "period": 60}
        two: _Measure = {"evaluation_periods": 2, "datapoints_to_alarm": 2, "treat_missing_data": "notBreaching"}
        namespace, metric = quality_metric(self.stack, self.name)
        quality: _Measure = {
            "namespace": namespace,
            "metric_name": metric,
            "statistic": "Minimum",
            "period": _OPERATING_QUALITY_SECONDS,
            "evaluation_periods": 1,
            "datapoints_to_alarm": 1,
            "treat_missing_data": "missing",  # servers report regularly: silence is not a good score
        }
        errors = {"metric_name": "Invocation5XXErrors", "statistic": "Average"}
        latency = {"metric_name": "ModelLatency", "extended_statistic": "p90"}
        measures = (
            _above(self.limits.error_rate, **errors, **of_endpoint, **two),
            _above(self.limits.latency_seconds * 1e6, **latency, **of_endpoint, **two),
            self._below_quality(quality),
        )
        for kind, measure in zip(_KINDS, measures, strict=True):
            cloudwatch.MetricAlarm(
                f"alarm-{self.name}-{kind}{SERVING}",
                name=self.stack.names.of(f"{self.name}-{kind}{SERVING}"),
                alarm_description=f"{kind} of endpoint {self.name}, whichever version serves",
                alarm_actions=[self.topic],
                ok_actions=[self.topic],
                **measure,
                opts=self.stack.options(),
            )

    @property
    def _sha256(self) -> str:
        return self.endpoint.entry.version.sha256

    @property
    def _dimensions(self) -> dict[str, pulumi.Input[str]]:
        return {"EndpointName": self.stack.names.of(self.name), "VariantName": VARIANT}

    def _below_quality(self, measure: _Measure) -> _Measure:
        return {**measure, "comparison_operator": "LessThanThreshold", "threshold": self.limits.quality}


def _above(threshold: float, **measure: Any) -> _Measure:
    return {**measure, "comparison_operator": "GreaterThanThreshold", "threshold": threshold}


def _rate_of_errors(dimensions: dict[str, pulumi.Input[str]], window: int) -> list[_Measure]:
    """Returns the rate of 5xx, 0 while there are fewer than LEAST_ERRORS of them.

    FILL counts a window without requests as one without errors; CloudWatch would use an earlier window instead.
    """
    metric = "Invocation5XXErrors"  # 1 for a request that failed, 0 for others: the average is the rate
    return [
        _query("errors", metric, "Sum", dimensions, window),
        _query("rate", metric, "Average", dimensions, window),
        _result(f"IF(FILL(errors, 0) >= {LEAST_ERRORS}, rate, 0)", "5xx"),
    ]


def _latency(dimensions: dict[str, pulumi.Input[str]], window: int) -> list[_Measure]:
    """Returns the 90th percentile in microseconds, 0 while there are fewer than LEAST_LATENCIES requests."""
    return [
        _query("requests", "ModelLatency", "SampleCount", dimensions, window),
        _query("slowest", "ModelLatency", "p90", dimensions, window),
        _result(f"IF(FILL(requests, 0) >= {LEAST_LATENCIES}, slowest, 0)", "latency"),
    ]


def _query(id_: str, metric: str, stat: str, dimensions: dict[str, pulumi.Input[str]], window: int) -> _Measure:
    of = {"namespace": _SAGEMAKER, "metric_name": metric, "dimensions": dimensions, "period": window, "stat": stat}
    return {"id": id_, "metric": of}


def _result(expression: str, label: str) -> _Measure:
    """Returns the query whose result the alarm compares:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
    """
    return {"id": "result", "expression": expression, "label": label, "return_data": True}
