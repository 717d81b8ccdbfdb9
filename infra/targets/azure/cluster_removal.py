"""The end of a cluster. The plugin deletes one without saying what becomes of its machines, which Azure requires.

https://learn.microsoft.com/rest/api/azureml/compute/delete
"""

from pulumi import dynamic

from clouds.azure.session import arm_of
from infra.targets.azure.located import LocatedResource
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
        arm_of(_props).delete(_props["cluster"], underlyingResourceAction="Delete")


class ClusterRemoval(LocatedResource, module="llmops", name="ClusterRemoval"):
    """Stands after a cluster, so that it is deleted first. Input and output: cluster (its resource id)."""

    PROVIDER = ClusterRemovalProvider
