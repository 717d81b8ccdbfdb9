"""Azure Resource Manager in this process."""

from tests.unit.clouds.azure.cloud import arm, cloud

__all__ = ["arm", "cloud"]
