"""Images of the kit, named by their content."""

from typing import Any

import pulumi
from pulumi import dynamic

from llmops_kit.infra import resource_names
from llmops_kit.infra.targets.local.providers.image import ImageProvider
from llmops_kit.infra.targets.local.values import LocalImage


class Image(dynamic.Resource, module="llmops", name="Image"):
    """Outputs: image (its name), runtime, source (hash of its files), reference."""

    reference: pulumi.Output[str]

    def __init__(self, image: LocalImage, prefix: str, parent: pulumi.Resource) -> None:
        props: dict[str, Any] = {
            "image": image.name,
            "runtime": image.runtime,
            "source": image.source,
            "reference": image.reference,
        }
        super().__init__(
            ImageProvider(), prefix + resource_names.image(image.name), props, pulumi.ResourceOptions(parent=parent)
        )
        self.stated: pulumi.Input[str] = image.reference or self.reference
