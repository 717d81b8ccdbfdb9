"""Images of the kit, built on this machine, and named by what they are made from."""

from typing import Any

import pulumi
from pulumi import dynamic

from infra import names
from infra.targets.local.provider import GONE, LocalProvider, Properties, inputs_of, say


class ImageProvider(LocalProvider):
    """Builds an image into this machine's cache, which all stacks share; so nothing is removed from it."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Idempotent: what is built already is taken."""
        return dynamic.CreateResult(props["image"], _build(props))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Gone when the cache was emptied."""
        from contract.errors import HostingError
        from hosting import images

        try:
            images.find(props["reference"])
        except HostingError:
            return GONE
        return dynamic.ReadResult(id_, props)

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Build the other one."""
        return dynamic.UpdateResult(_build(_news))


class Image(dynamic.Resource, module="llmops", name="Image"):
    """Outputs: image (its name), reference."""

    reference: pulumi.Output[str]

    def __init__(self, name: str) -> None:
        # The reference is an input, so that a preview shows that the image changes and who runs it.
        self.known_reference = current_reference(name)
        props: dict[str, Any] = {"image": name, "reference": self.known_reference}
        super().__init__(ImageProvider(), names.image(name), props)


def current_reference(name: str) -> str:
    """The reference that the image has with the files of now."""
    from hosting import images

    return images.reference(name)


def _build(props: Properties) -> Properties:
    from hosting import images

    return inputs_of(props) | {"reference": images.build(props["image"], say)}
