"""The run history of a workspace: when a job began and ended, why it failed, and where its lines are.

A service beside Azure Resource Manager, found as azure-ai-ml finds it: the workspace says where its services are told.
"""

from functools import cached_property
from typing import Any

from clouds.azure.arm import ArmClient


class History:
    """Of one workspace."""

    def __init__(self, arm: ArmClient, workspace: str) -> None:
        """Open it.

        Args:
            arm: Azure Resource Manager.
            workspace: the workspace's resource id.
        """
        self._arm, self._workspace = arm, workspace

    def details(self, job: str) -> dict[str, Any]:
        """Of a job: startTimeUtc, endTimeUtc, error, logFiles {name: URL that lets read it}; empty: none yet."""
        return self._arm.get_url(f"{self._url}/history/v1.0{self._workspace}/runs/{job}/details")

    @cached_property
    def _url(self) -> str:
        properties = self._arm.get(self._workspace)["properties"]
        return str(self._arm.get_url(properties["discoveryUrl"])["api"]).rstrip("/")
