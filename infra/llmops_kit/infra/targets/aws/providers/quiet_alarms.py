"""Waits, before an endpoint's update, until no alarm rings that would undo it.

An alarm keeps its state when it is told to watch something else, until CloudWatch looks at it again a minute later
(PutMetricAlarm); and one that undid an update rings on for as long as its window has what set it off. SageMaker would
take either for the new version's fault. So this stands between the alarms and the endpoint, and waits until none rings.

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

_WINDOWS = 3  # CloudWatch also takes a period before the last, where that one has no data
_MARGIN_SECONDS = 5 * 60  # it looks each minute
_POLL_SECONDS = 2.0


class QuietProvider(KitProvider):
    """Waits before each update of the endpoint: when the configuration changes, and when an update is repeated."""

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.DiffResult:
        """Reports a change of inputs, and an alarm that would undo another attempt to deploy the configuration."""
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
    """Inputs: what is declared of the endpoint."""

    endpoint: str  # its name on SageMaker
    configuration: pulumi.Input[str]  # the declared one's name
    alarms: list[str]  # their names
    window: int  # seconds over which an alarm sums up


class QuietAlarms(AwsLocatedResource, module="llmops", name="Quiet"):
    """Stands before an endpoint, after its alarms."""

    def __init__(
        self, name: str, location: AwsLocation, opts: pulumi.ResourceOptions, **inputs: Unpack[QuietInputs]
    ) -> None:
        super().__init__(QuietProvider(), name, location, opts, inputs)


def _wait(props: Properties) -> None:
    """Wait until none of the alarms rings.

    Raises:
        KitError: one rings on: it watches the version that serves too.
    """
    deadline = time.monotonic() + _WINDOWS * props["window"] + _MARGIN_SECONDS
    told = False
    while ringing := _ringing(props):
        if time.monotonic() > deadline:
            raise KitError(
                f"alarm {', '.join(ringing)} is in ALARM, and SageMaker would undo any update",
                where=f"endpoint {props['endpoint']}",
                fix="promote another version, or set a limit in `llmops:aws.alarms` that this one keeps",
            )
        if not told:
            told = True
            say(f"endpoint {props['endpoint']}: waiting until alarm {', '.join(ringing)} no longer rings")
        time.sleep(_POLL_SECONDS)


def _is_due(props: Properties) -> bool:
    """Returns whether the endpoint is there, and serves another configuration than the declared one."""
    live = find_endpoint(props)
    return bool(live) and live["EndpointConfigName"] != props["configuration"]


def _ringing(props: Properties) -> list[str]:
    """Returns the alarms in state ALARM:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
    """
    with explained(f"alarms of endpoint {props['endpoint']}"):
        answer = client("cloudwatch", AwsLocation.of(props)).describe_alarms(AlarmNames=props["alarms"])
    return sorted(alarm["AlarmName"] for alarm in answer["MetricAlarms"] if alarm["StateValue"] == "ALARM")
