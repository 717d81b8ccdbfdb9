"""Waits, before an endpoint's update, until no alarm is in state ALARM, which would roll the update back.

An alarm that is pointed at another metric keeps its state until CloudWatch evaluates it again a minute later
(PutMetricAlarm); and one that rolled an update back stays in ALARM as long as its window contains the cause. SageMaker
would blame the new version in both cases. So this resource comes after the alarms and before the endpoint, and waits.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html
"""

import time
from typing import TypedDict, Unpack

import pulumi
from pulumi import dynamic

from llmops_kit.clouds.aws.errors import explained
from llmops_kit.clouds.aws.location import AwsLocation
from llmops_kit.clouds.aws.session import client
from llmops_kit.core.errors import KitError
from llmops_kit.infra.targets.aws.providers.located import AwsLocatedResource
from llmops_kit.infra.targets.aws.providers.preparation import find_endpoint
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, differ, inputs_of, say

_WINDOWS = 3  # CloudWatch also evaluates earlier periods if the last one has no data
_MARGIN_SECONDS = 5 * 60  # it evaluates an alarm each minute
_POLL_SECONDS = 2.0


class QuietProvider(KitProvider):
    """Waits before each update of the endpoint: when the configuration changes, and when an update is repeated."""

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.DiffResult:
        """Reports a change of inputs, and an alarm that would roll back another attempt to deploy the configuration."""
        return dynamic.DiffResult(changes=differ(_olds, _news) or bool(_is_due(_news) and _ringing(_news)))

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Waits until no alarm of a new endpoint is in state ALARM."""
        _wait(props)
        return dynamic.CreateResult(props["endpoint"], inputs_of(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Waits until no alarm is in state ALARM before the configuration changes."""
        _wait(_news)
        return dynamic.UpdateResult(inputs_of(_news))


class QuietInputs(TypedDict):
    """Declared values."""

    endpoint: str  # its name on SageMaker
    configuration: pulumi.Input[str]  # name of the declared configuration
    alarms: list[str]  # their names
    window: int  # seconds over which an alarm aggregates


class QuietAlarms(AwsLocatedResource, module="llmops", name="Quiet"):
    """Comes before an endpoint, after its alarms."""

    def __init__(
        self, name: str, location: AwsLocation, opts: pulumi.ResourceOptions, **inputs: Unpack[QuietInputs]
    ) -> None:
        super().__init__(QuietProvider(), name, location, opts, inputs)


def _wait(props: Properties) -> None:
    """Wait until none of the alarms is in state ALARM.

    Raises:
        KitError: one stays in it, because it also watches the version that serves.
    """
    deadline = time.monotonic() + _WINDOWS * props["window"] + _MARGIN_SECONDS
    told = False
    while ringing := _ringing(props):
        if time.monotonic() > deadline:
            raise KitError(
                f"alarm {', '.join(ringing)} is in ALARM, so SageMaker would roll any update back",
                where=f"endpoint {props['endpoint']}",
                fix="promote another version, or set a limit in `llmops:aws.alarms` that the serving version meets",
            )
        if not told:
            told = True
            say(f"endpoint {props['endpoint']}: waiting until alarm {', '.join(ringing)} is no longer in ALARM")
        time.sleep(_POLL_SECONDS)


def _is_due(props: Properties) -> bool:
    """Returns whether the endpoint exists and serves another configuration than the declared one."""
    live = find_endpoint(props)
    return bool(live) and live["EndpointConfigName"] != props["configuration"]


def _ringing(props: Properties) -> list[str]:
    """Returns the alarms in state ALARM:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
    """
    with explained(f"alarms of endpoint {props['endpoint']}"):
        answer = client("cloudwatch", AwsLocation.of(props)).describe_alarms(AlarmNames=props["alarms"])
    return sorted(alarm["AlarmName"] for alarm in answer["MetricAlarms"] if alarm["StateValue"] == "ALARM")
