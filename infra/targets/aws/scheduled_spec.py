"""A run's spec that is kept for the schedule which repeats the run: files of runs expire."""

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi import dynamic

from infra.targets.aws.session import Place, client, error_code, explained
from infra.targets.dynamic import KitProvider, Properties, inputs_of


class ScheduledSpecProvider(KitProvider):
    """Writes an object, and removes it with the schedule."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Idempotent."""
        _write(props)
        return dynamic.CreateResult(props["key"], inputs_of(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Another run; the old one's spec goes when nothing starts with it any more."""
        _write(_news)
        if _olds["key"] != _news["key"]:
            _remove(_olds)
        return dynamic.UpdateResult(inputs_of(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """Remove it."""
        _remove(_props)


class ScheduledSpec(dynamic.Resource, module="llmops", name="ScheduledSpec"):
    """Outputs: bucket, key."""

    def __init__(
        self,
        name: str,
        place: Place,
        *,
        bucket: pulumi.Input[str],
        key: str,
        content: str,
        after: Sequence[pulumi.Resource],
    ) -> None:
        """Declare it.

        Args:
            name: logical name.
            place: where.
            bucket: of runs.
            key: the object's.
            content: the RunSpec as JSON.
            after: what must be there first.
        """
        props: dict[str, Any] = {**place._asdict(), "bucket": bucket, "key": key, "content": content}
        super().__init__(ScheduledSpecProvider(), name, props, pulumi.ResourceOptions(depends_on=list(after)))


def _write(props: Properties) -> None:
    with explained(f"s3://{props['bucket']}/{props['key']}"):
        client("s3", Place.of(props)).put_object(
            Bucket=props["bucket"], Key=props["key"], Body=props["content"].encode()
        )


def _remove(props: Properties) -> None:
    from botocore.exceptions import ClientError

    with explained(f"s3://{props['bucket']}/{props['key']}"):
        try:
            client("s3", Place.of(props)).delete_object(Bucket=props["bucket"], Key=props["key"])
        except ClientError as e:
            if error_code(e) != "NoSuchBucket":
                raise
