"""The end of a cluster. The plugin deletes one without saying what becomes of its machines, which Azure requires.

https://learn.microsoft.com/rest/api/azureml/compute/delete
"""

from llmops_kit.clouds.azure.session import arm_of
from llmops_kit.infra.targets.azure.located import AzureLocatedResource, LocatedProvider
from llmops_kit.infra.targets.dynamic import Properties


class ClusterRemovalProvider(LocatedProvider):
    """Deletes a cluster with its machines, before the plugin would: what is gone, it takes for deleted."""

    KEY = "cluster"

    def put(self, props: Properties) -> Properties:
        """Does nothing while the cluster exists."""
        return {}

    def delete(self, _id: str, _props: Properties) -> None:
        """Delete it, if it is there."""
        arm_of(_props).delete(_props["cluster"], underlyingResourceAction="Delete")


class ClusterRemoval(AzureLocatedResource, module="llmops", name="ClusterRemoval"):
    """Stands after a cluster, so that it is deleted first. Input and output: cluster (its resource id)."""

    PROVIDER = ClusterRemovalProvider
