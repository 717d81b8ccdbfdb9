"""Removal of a cluster. Azure requires an action for its machines, which the plugin does not send.

https://learn.microsoft.com/rest/api/azureml/compute/delete
"""

from llmops_kit.clouds.azure.session import arm_of
from llmops_kit.infra.targets.azure.providers.located import AzureLocatedResource, LocatedProvider
from llmops_kit.infra.targets.dynamic import Properties


class ClusterRemovalProvider(LocatedProvider):
    """Deletes a cluster with its machines before the plugin does, which accepts that it is already gone."""

    KEY = "cluster"

    def put(self, props: Properties) -> Properties:
        """Does nothing while the cluster exists."""
        return {}

    def delete(self, _id: str, _props: Properties) -> None:
        """Delete it if it exists."""
        arm_of(_props).delete(_props["cluster"], underlyingResourceAction="Delete")


class ClusterRemoval(AzureLocatedResource, module="llmops", name="ClusterRemoval"):
    """Depends on a cluster, so that the engine deletes this first. Input and output: cluster (its resource id)."""

    PROVIDER = ClusterRemovalProvider
