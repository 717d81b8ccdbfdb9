"""Copy of a run's spec for the schedule that repeats the run, since files of runs expire."""

from typing import TypedDict, Unpack

import pulumi
from pulumi import dynamic

from llmops_kit.clouds.aws.location import AwsLocation
from llmops_kit.clouds.aws.objects import S3Bucket
from llmops_kit.clouds.aws.session import client
from llmops_kit.infra.targets.aws.providers.located import AwsLocatedResource
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, inputs_of


class AwsScheduledSpecProvider(KitProvider):
    """Writes an object, and removes it with the schedule."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Writes the spec; idempotent."""
        _write(props)
        return dynamic.CreateResult(props["key"], inputs_of(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Writes the new run's spec, then removes the old one, which no job uses any more."""
        _write(_news)
        if _olds["key"] != _news["key"]:
            _bucket(_olds).remove(_olds["key"])
        return dynamic.UpdateResult(inputs_of(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """Removes the object, if it exists."""
        _bucket(_props).remove(_props["key"])


class ScheduledSpecInputs(TypedDict):
    """The bucket of runs, the object's key, and the RunSpec as JSON."""

    bucket: pulumi.Input[str]
    key: str
    content: str


class AwsScheduledSpec(AwsLocatedResource, module="llmops", name="ScheduledSpec"):
    """Outputs: bucket, key."""

    def __init__(
        self, name: str, location: AwsLocation, opts: pulumi.ResourceOptions, **inputs: Unpack[ScheduledSpecInputs]
    ) -> None:
        super().__init__(AwsScheduledSpecProvider(), name, location, opts, inputs)


def _bucket(props: Properties) -> S3Bucket:
    return S3Bucket(client("s3", AwsLocation.of(props)), props["bucket"])


def _write(props: Properties) -> None:
    _bucket(props).write(props["key"], props["content"].encode())
