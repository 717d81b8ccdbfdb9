"""The folder of runs on this machine, and their image."""

from typing import Any

import pulumi
from pulumi import dynamic

from llmops_kit.infra import resource_names
from llmops_kit.infra.targets.local.providers.training_place import TrainingPlaceProvider
from llmops_kit.infra.targets.local.resources.images import Image


class TrainingPlace(dynamic.Resource, module="llmops", name="TrainingPlace"):
    """Outputs: runs (a folder), image (its reference)."""

    runs: pulumi.Output[str]
    image: pulumi.Output[str]

    def __init__(self, home: resource_names.StackHome, image: Image, prefix: str, parent: pulumi.Resource) -> None:
        props: dict[str, Any] = {"runs": str(home.runs), "image": image.stated}
        options = pulumi.ResourceOptions(parent=parent, depends_on=[image])
        super().__init__(TrainingPlaceProvider(), prefix + resource_names.TRAINING, props, options)
