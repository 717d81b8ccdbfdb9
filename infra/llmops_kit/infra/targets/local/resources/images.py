"""Images of the kit, named by their content."""

from typing import Any

import pulumi
from pulumi import dynamic

from llmops_kit.infra import resource_names
from llmops_kit.infra.targets.local.providers.image import ImageProvider


class Image(dynamic.Resource, module="llmops", name="Image"):
    """Outputs: image (its name), runtime, source (hash of its files), reference."""

    reference: pulumi.Output[str]

    def __init__(self, name: str, runtime: str, prefix: str, parent: pulumi.Resource) -> None:
        from llmops_kit.local_runtime import process_images

        process = process_images.reference(name)
        # A process image's reference is known before it is built, so a preview shows which resources change.
        reference = process if runtime == "process" else None
        props: dict[str, Any] = {
            "image": name,
            "runtime": runtime,
            "source": process.rpartition(":")[2],
            "reference": reference,
        }
        super().__init__(
            ImageProvider(), prefix + resource_names.image(name), props, pulumi.ResourceOptions(parent=parent)
        )
        self.name = name
        self.stated: pulumi.Input[str] = reference or self.reference
