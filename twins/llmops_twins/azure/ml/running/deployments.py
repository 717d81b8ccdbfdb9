"""The containers of all deployments: planned, started, replaced and ended, with their results.

The desired containers are in the twin's state (`running`), by the id of their endpoint: the groups of a fleet's plan,
one for each revision of a deployment. A changing deployment has two, until the new one serves.

https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#error-outofcapacity
"""

import secrets
from typing import Any

from llmops_kit.core.errors import KitError
from llmops_twins.azure.ml.running import plans
from llmops_twins.azure.ml.running.cloud import AzureCloud, failure_of
from llmops_twins.azure.ml.running.environment_images import ImageError
from llmops_twins.azure.ml.running.reports import RunFailure, deployment_settled
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document
from llmops_twins.azure.protocol.ids import key
from llmops_twins.azure.telemetry import lines
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.fleet.fleet import Fleet, Lease
from llmops_twins.core.fleet.plan import FleetPlan, GroupPlan, VariantPlan

_STATE = "running"
_LOOK_SECONDS = 0.1
_NO_CAPACITY = RunFailure(
    "OutOfCapacity",
    "The specified VM Size failed to provision due to a lack of Azure Machine Learning capacity. Retry later or try "
    "deploying to a different region. Please see troubleshooting guide, available here: "
    "https://aka.ms/oe-tsg#error-outofcapacity",
)


class Deployments:
    """Starts and ends the containers of deployments. All methods but `lease` are called with the twin's lock held."""

    def __init__(self, twin: TenantTwin) -> None:
        self._twin = twin
        self._cloud = AzureCloud(twin)
        self.fleet = Fleet(twin, self._cloud)
        twin.every(_LOOK_SECONDS, self._settle)
        twin.closers.append(self.fleet.close)

    def resume(self, *, runs: bool) -> None:
        """Adopts the last process's containers; ends them if this process does not run containers."""
        self.fleet.resume([self._plan(endpoint_id) for endpoint_id in self._running()] if runs else [])

    def wanted(self, document: Document) -> None:
        """Plans the containers of a new or changed deployment."""
        endpoint_id, name = _parts(document["id"])
        if self._cloud.faults().take("capacity", instance_type=document["properties"].get("instanceType") or ""):
            deployment_settled(self._twin, document["id"], _NO_CAPACITY)
            return
        try:
            container = plans.container_of(self._twin, document)
        except (ArmError, ImageError, KitError) as e:
            # unsure (60 %): the code is that of the troubleshooting page for what a deployment names and does not get
            # (https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#error-badargument)
            deployment_settled(self._twin, document["id"], RunFailure("BadArgument", str(e)))
            return
        groups = self._running().setdefault(key(endpoint_id), {}).setdefault(name, [])
        variant = VariantPlan(name=name, weight=1.0, instances=[], container=container)
        old = [group for group in groups if group["variants"][0]["container"] == container.model_dump(mode="json")]
        groups[:] = [group for group in groups if group["share"] or group in old]  # drops a revision that never served
        if old:
            group = old[-1]
        else:
            plan = GroupPlan(id=f"{name}-{secrets.token_hex(3)}", share=0.0, variants=[variant])
            group = plan.model_dump(mode="json")
            groups.append(group)
        instances = group["variants"][0]["instances"]
        wanted = int((document.get("sku") or {}).get("capacity") or 1)
        new = [f"{name.lower()}-{secrets.token_hex(4)}" for _ in range(wanted - len(instances))]
        group["variants"][0]["instances"] = instances[:wanted] + new
        group["settling"] = True
        self._tell(endpoint_id)

    def gone(self, deployment_id: str) -> None:
        """Ends the containers of a deleted deployment."""
        endpoint_id, name = _parts(deployment_id)
        if self._running().get(key(endpoint_id), {}).pop(name, None) is not None:
            self._tell(endpoint_id)
        lines.forget(self._twin, endpoint_id, name)

    def lease(self, endpoint_id: str, deployment: str, *, streams: bool = False) -> Lease:
        """Leases an instance of a deployment for a request; without the twin's lock.

        Raises:
            NoWorkerError: no instance can take it.
        """
        return self.fleet.lease(key(endpoint_id), variant=deployment, streams=streams)

    def _settle(self) -> None:
        """Reports deployments whose instances are all ready, or can't be."""
        for endpoint_id, deployments in list(self._running().items()):
            for name, groups in list(deployments.items()):
                for group in [group for group in groups if group.get("settling")]:
                    self._settle_group(endpoint_id, name, groups, group)

    def _settle_group(self, endpoint_id: str, name: str, groups: list[dict[str, Any]], group: dict[str, Any]) -> None:
        progress = self.fleet.progress(endpoint_id, group["id"])
        if progress.wanted and progress.complete:
            group["share"], group["settling"] = 1.0, False
            groups[:] = [group]
            failure = None
        elif progress.problem:
            group["settling"] = False
            groups[:] = [each for each in groups if each["share"]]
            failure = failure_of(progress.problem)
        else:
            return
        self._tell(endpoint_id)
        deployment_settled(self._twin, f"{endpoint_id}/deployments/{name}", failure)

    def _tell(self, endpoint_id: str) -> None:
        """Passes an endpoint's plan to the fleet, and drops the record of an endpoint without containers."""
        self.fleet.want(self._plan(key(endpoint_id)))
        if not any(self._running().get(key(endpoint_id), {}).values()):
            self._running().pop(key(endpoint_id), None)
        self._twin.changed()

    def _plan(self, endpoint_key: str) -> FleetPlan:
        groups = [g for groups in self._running().get(endpoint_key, {}).values() for g in groups]
        kept = [{name: value for name, value in group.items() if name != "settling"} for group in groups]
        endpoint = self._twin.find(endpoint_key) or {"name": endpoint_key.rpartition("/")[2]}
        return FleetPlan.of(endpoint_key, endpoint["name"], kept)

    def _running(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        return self._twin.state.setdefault(_STATE, {})


def _parts(deployment_id: str) -> tuple[str, str]:
    endpoint_id, _, name = deployment_id.rpartition("/deployments/")
    return endpoint_id, name
