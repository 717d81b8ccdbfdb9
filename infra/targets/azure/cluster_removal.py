"""The end of a cluster. The plugin deletes one without saying what becomes of its machines, which Azure requires.

https://learn.microsoft.com/rest/api/azureml/compute/delete
"""

from typing import Any

import pulumi
from pulumi import dynamic

from infra.targets.azure.online import API
from infra.targets.azure.session import Place, find, send
from infra.targets.dynamic import KitProvider, Properties, inputs_of


class ClusterRemovalProvider(KitProvider):
    """Deletes a cluster with its machines, before the plugin would: what is gone, it takes for deleted."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Nothing is to be done while the cluster is there."""
        return dynamic.CreateResult(props["cluster"], inputs_of(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """A cluster keeps its id."""
        return dynamic.UpdateResult(inputs_of(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """Delete it, if it is there."""
        place = Place.of(_props)
        if find(place, _props["cluster"], API):
            send(place, "DELETE", f"{_props['cluster']}?underlyingResourceAction=Delete", API)


class ClusterRemoval(dynamic.Resource, module="llmops", name="ClusterRemoval"):
    """Stands after a cluster, so that it is deleted first. Outputs: cluster."""

    def __init__(self, name: str, place: Place, *, cluster: str, after: pulumi.Resource) -> None:
        """Declare it.

        Args:
            name: logical name.
            place: where.
            cluster: its resource id.
            after: the cluster.
        """
        props: dict[str, Any] = {**place._asdict(), "cluster": cluster}
        super().__init__(ClusterRemovalProvider(), name, props, pulumi.ResourceOptions(depends_on=[after]))
