"""Versions of models and environments in the workspace.

The plugin's resources are unsuitable: it deletes them on replacement, which Azure may reject, and fails if a version
that was deleted or archived is declared again.
"""

import json
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi import dynamic

from llmops_kit.clouds.azure.assets import archived, is_archived
from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.session import arm_of
from llmops_kit.infra.targets.azure.providers.located import AzureLocatedResource, LocatedProvider
from llmops_kit.infra.targets.dynamic import Properties, gone, inputs_of


class AssetProvider(LocatedProvider):
    """Puts a version, and archives it when it is no longer declared."""

    KEY = "asset"

    def put(self, props: Properties) -> Properties:
        """Puts the version. Adopts an existing one with this content, and restores an archived one; Azure rejects other
        content.
        """
        body = {"properties": {**json.loads(props["content"]), "isArchived": False}}
        arm_of(props).put(props["asset"], body)
        return {}

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Reports a missing or archived version as gone, so that it is put again."""
        found = arm_of(props).find(props["asset"])
        if found is None or is_archived(found):
            return gone()
        return dynamic.ReadResult(id_, inputs_of(props), inputs_of(props))

    def delete(self, _id: str, _props: Properties) -> None:
        """Archives the version, unless it was deleted with its workspace."""
        arm = arm_of(_props)
        if found := arm.find(_props["asset"]):
            arm.put(_props["asset"], archived(found))


class Asset(AzureLocatedResource, module="llmops", name="Asset"):
    """Its id is the version's resource id. Outputs: asset, content."""

    PROVIDER = AssetProvider

    def __init__(
        self,
        name: str,
        location: AzureLocation,
        opts: pulumi.ResourceOptions,
        *,
        asset: str,
        properties: Mapping[str, Any],
    ) -> None:
        """Declare the version with this resource id, and properties as in Azure's API."""
        content = pulumi.Output.json_dumps(properties, sort_keys=True)  # the engine would turn its integers into floats
        super().__init__(name, location, opts, asset=asset, content=content)
