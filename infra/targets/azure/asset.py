"""Versions of models and environments in the workspace.

Not the plugin's own resources: those are deleted when they are replaced, which Azure may refuse, and are refused when
what was deleted or archived is wanted again.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi import dynamic

from clouds.azure.assets import archived, is_archived
from infra.targets.azure.online import API
from infra.targets.azure.session import Place, find, send
from infra.targets.dynamic import KitProvider, Properties, gone, inputs_of


class AssetProvider(KitProvider):
    """Puts a version, and archives it when it is not wanted any more."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Idempotent: one that is there with this content is taken, an archived one comes back."""
        _put(props)
        return dynamic.CreateResult(props["asset"], inputs_of(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Other tags: Azure refuses another content."""
        _put(_news)
        return dynamic.UpdateResult(inputs_of(_news))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """An archived one is to be put again."""
        found = find(Place.of(props), props["asset"], API)
        if found is None or is_archived(found):
            return gone()
        return dynamic.ReadResult(id_, inputs_of(props), inputs_of(props))

    def delete(self, _id: str, _props: Properties) -> None:
        """Archive it, unless it went with its workspace."""
        place = Place.of(_props)
        if found := find(place, _props["asset"], API):
            send(place, "PUT", _props["asset"], API, archived(found))


class Asset(dynamic.Resource, module="llmops", name="Asset"):
    """Its id is the version's resource id. Outputs: asset, content."""

    def __init__(
        self,
        name: str,
        place: Place,
        *,
        asset: str,
        properties: Mapping[str, Any],
        after: Sequence[pulumi.Resource],
    ) -> None:
        """Declare it.

        Args:
            name: logical name.
            place: where.
            asset: the version's resource id.
            properties: in the words of Azure's API.
            after: what must be there first.
        """
        content = pulumi.Output.json_dumps(properties, sort_keys=True)  # the engine would make floats of its numbers
        props: dict[str, Any] = {**place._asdict(), "asset": asset, "content": content}
        super().__init__(AssetProvider(), name, props, pulumi.ResourceOptions(depends_on=list(after)))


def _put(props: Properties) -> None:
    body = {"properties": {**json.loads(props["content"]), "isArchived": False}}
    send(Place.of(props), "PUT", props["asset"], API, body)
