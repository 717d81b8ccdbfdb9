"""Versions of models and environments in the workspace.

Not the plugin's own resources: those are deleted when they are replaced, which Azure may refuse, and are refused when
what was deleted or archived is wanted again.
"""

import json
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi import dynamic

from clouds.azure.assets import archived, is_archived
from clouds.azure.location import AzureLocation
from clouds.azure.session import arm_of
from infra.targets.azure.located import AzureLocatedResource, LocatedProvider
from infra.targets.dynamic import Properties, gone, inputs_of


class AssetProvider(LocatedProvider):
    """Puts a version, and archives it when it is not wanted any more."""

    KEY = "asset"

    def put(self, props: Properties) -> Properties:
        """Puts the version. An existing one with this content is adopted, an archived one restored; Azure refuses other
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
        """Archives the version, unless it went with its workspace."""
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
        """Declare the version with this resource id, and properties in the words of Azure's API."""
        content = pulumi.Output.json_dumps(properties, sort_keys=True)  # the engine would make floats of its numbers
        super().__init__(name, location, opts, asset=asset, content=content)
