"""The right to the stack's data that its first operator was given: an update ends when it works.

So what comes after the first `up`, such as a run that lays out its files, need not wait for it.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pulumi
from pulumi import dynamic

from infra.targets.azure.allowed import until_allowed
from infra.targets.azure.blobs import look_into
from infra.targets.azure.session import Place, explained, require_place
from infra.targets.dynamic import KitProvider, Properties, inputs_of


class AccessProvider(KitProvider):
    """Looks into containers, as the operator."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Wait; somebody else than the operator has roles of his own, or none."""
        if require_place(Place.of(props)).object_id == props["operator"]:
            for url in props["containers"]:
                with explained(url):
                    until_allowed(f"{url} can be read", partial(look_into, url))
        return dynamic.CreateResult(props["operator"], inputs_of(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Another container."""
        return dynamic.UpdateResult(self.create(_news).outs)


class Access(dynamic.Resource, module="llmops", name="Access"):
    """Stands after role assignments."""

    def __init__(
        self,
        name: str,
        place: Place,
        *,
        operator: pulumi.Input[str],
        containers: Sequence[pulumi.Input[str]],
        after: Sequence[pulumi.Resource],
    ) -> None:
        """Declare it.

        Args:
            name: logical name.
            place: where.
            operator: object id of who was given the roles.
            containers: their URLs.
            after: the role assignments.
        """
        props: dict[str, Any] = {**place._asdict(), "operator": operator, "containers": list(containers)}
        super().__init__(AccessProvider(), name, props, pulumi.ResourceOptions(depends_on=list(after)))
