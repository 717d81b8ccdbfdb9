"""Base of this target's dynamic resources, which pass the stack's location to their provider."""

from typing import Any, ClassVar

import pulumi
from pulumi import dynamic

from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, inputs_of


class LocatedProvider(KitProvider):
    """A provider whose create and update do the same: `put`, which is idempotent.

    Attributes:
        KEY: the property that is the resource's id in the state.
    """

    KEY: ClassVar[str]

    def put(self, props: Properties) -> Properties:
        """Make Azure match the inputs. Returns further outputs."""
        raise NotImplementedError

    def create(self, props: Properties) -> dynamic.CreateResult:
        """See put."""
        return dynamic.CreateResult(props[self.KEY], inputs_of(props) | self.put(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """See put."""
        return dynamic.UpdateResult(inputs_of(_news) | self.put(_news))


class AzureLocatedResource(dynamic.Resource):
    """A dynamic resource whose properties are the stack's location and its own inputs.

    Attributes:
        PROVIDER: class of its provider.
        COMPUTED: properties that the provider sets.
        PROTECTED: whether it outlives the stack.
    """

    PROVIDER: ClassVar[type[KitProvider]]
    COMPUTED: ClassVar[tuple[str, ...]] = ()
    PROTECTED: ClassVar[bool | None] = None

    def __init__(self, name: str, location: AzureLocation, opts: pulumi.ResourceOptions, /, **inputs: Any) -> None:
        props = {**location._asdict(), **inputs, **dict.fromkeys(self.COMPUTED)}
        options = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(protect=self.PROTECTED), opts)
        super().__init__(self.PROVIDER(), name, props, options)
