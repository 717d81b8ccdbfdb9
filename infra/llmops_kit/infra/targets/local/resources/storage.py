"""The store: a folder of dataset and model versions, which outlives its stack."""

from pathlib import Path
from typing import Any

import pulumi
from pulumi import dynamic

from llmops_kit.infra import resource_names
from llmops_kit.infra.targets.local.providers.store import StoreProvider


class LocalStore(dynamic.Resource, module="llmops", name="Store"):
    """Outputs: folder, url."""

    folder: pulumi.Output[str]
    url: pulumi.Output[str]

    def __init__(
        self, home: resource_names.StackHome, stack: str, project: Path, prefix: str, parent: pulumi.Resource
    ) -> None:
        props: dict[str, Any] = {"folder": str(home.store), "stack": stack, "project": str(project), "url": None}
        super().__init__(
            StoreProvider(),
            resource_names.kept(f"{prefix}store"),
            props,
            pulumi.ResourceOptions(parent=parent, protect=True),
        )
