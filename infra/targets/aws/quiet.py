"""Before an endpoint's update: is any alarm that would undo it ringing already?

An alarm keeps its state when it is told to watch something else, until CloudWatch looks at it again a minute later
(PutMetricAlarm). SageMaker would take one that rings for the new version's fault. So this stands between the alarms and
the endpoint, and waits until none rings.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html
"""

import time
from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi import dynamic

from contract.errors import KitError
from infra.targets.aws.session import Place, client, explained
from infra.targets.dynamic import KitProvider, Properties, inputs_of, say

_WAIT_SECONDS = 5 * 60  # CloudWatch looks each minute, and at the last few
_POLL_SECONDS = 2.0


class QuietProvider(KitProvider):
    """Waits whenever the configuration changes, which is when the endpoint is updated."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """For a new endpoint."""
        _wait(props)
        return dynamic.CreateResult(props["endpoint"], inputs_of(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """For another configuration."""
        _wait(_news)
        return dynamic.UpdateResult(inputs_of(_news))


class Quiet(dynamic.Resource, module="llmops", name="Quiet"):
    """Stands before an endpoint, after its alarms."""

    def __init__(
        self,
        name: str,
        place: Place,
        *,
        endpoint: str,
        configuration: pulumi.Input[str],
        alarms: Sequence[str],
        after: Sequence[pulumi.Resource],
    ) -> None:
        """Declare it.

        Args:
            name: logical name.
            place: where.
            endpoint: its name on SageMaker.
            configuration: the declared one's name.
            alarms: their names.
            after: the alarms.
        """
        props: dict[str, Any] = {
            **place._asdict(),
            "endpoint": endpoint,
            "configuration": configuration,
            "alarms": list(alarms),
        }
        super().__init__(QuietProvider(), name, props, pulumi.ResourceOptions(depends_on=list(after)))


def _wait(props: Properties) -> None:
    """Wait until none of the alarms rings.

    Raises:
        KitError: one rings on: it watches the version that serves too.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
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


def _ringing(props: Properties) -> list[str]:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html"""
    with explained(f"alarms of endpoint {props['endpoint']}"):
        answer = client("cloudwatch", Place.of(props)).describe_alarms(AlarmNames=props["alarms"])
    return sorted(alarm["AlarmName"] for alarm in answer["MetricAlarms"] if alarm["StateValue"] == "ALARM")
