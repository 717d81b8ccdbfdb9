"""A run's spec that is kept for the schedule which repeats the run: files of runs expire."""

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi import dynamic

from infra.targets.azure.blobs import remove, write
from infra.targets.azure.session import Place, require_reach
from infra.targets.dynamic import KitProvider, Properties, inputs_of


class ScheduledSpecProvider(KitProvider):
    """Writes a blob, and removes it with the schedule."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Idempotent."""
        _write(props)
        return dynamic.CreateResult(props["key"], inputs_of(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Another run; the old one's spec goes when nothing starts with it any more."""
        _write(_news)
        if _olds["key"] != _news["key"]:
            remove(_olds["container"], _olds["key"])
        return dynamic.UpdateResult(inputs_of(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """Remove it."""
        require_reach(Place.of(_props))
        remove(_props["container"], _props["key"])


class ScheduledSpec(dynamic.Resource, module="llmops", name="ScheduledSpec"):
    """Outputs: container, key."""

    def __init__(
        self,
        name: str,
        place: Place,
        *,
        container: pulumi.Input[str],
        key: str,
        content: str,
        after: Sequence[pulumi.Resource],
    ) -> None:
        """Declare it.

        Args:
            name: logical name.
            place: where.
            container: URL of the one of runs.
            key: the blob's name.
            content: the RunSpec as JSON.
            after: what must be there first.
        """
        props: dict[str, Any] = {**place._asdict(), "container": container, "key": key, "content": content}
        super().__init__(ScheduledSpecProvider(), name, props, pulumi.ResourceOptions(depends_on=list(after)))


def _write(props: Properties) -> None:
    require_reach(Place.of(props))
    write(props["container"], props["key"], props["content"].encode())
