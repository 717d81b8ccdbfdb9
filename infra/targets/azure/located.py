"""What the dynamic resources of this target share: each keeps the stack's location, by which its provider works."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pulumi
from pulumi import dynamic

from clouds.azure.location import AzureLocation
from infra.targets.dynamic import KitProvider


class LocatedResource(dynamic.Resource):
    """A dynamic resource whose properties are the stack's location and its own inputs.

    Attributes:
        PROVIDER: class of its provider.
        COMPUTED: properties that the provider sets.
        PROTECTED: whether it outlives the stack.
    """

    PROVIDER: ClassVar[type[KitProvider]]
    COMPUTED: ClassVar[tuple[str, ...]] = ()
    PROTECTED: ClassVar[bool | None] = None

    def __init__(
        self, name: str, location: AzureLocation, /, *, after: Sequence[pulumi.Resource] = (), **inputs: Any
    ) -> None:
        props = {**location._asdict(), **inputs, **dict.fromkeys(self.COMPUTED)}
        options = pulumi.ResourceOptions(protect=self.PROTECTED, depends_on=list(after))
        super().__init__(self.PROVIDER(), name, props, options)
