"""Removes leftovers that a sweep found, in order of dependency: users before the resources that they use."""

from collections.abc import Callable, Collection
from typing import Any

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.platforms.azure.sweep import look as kinds
from llmops_kit.cli.platforms.sweep import RUN, Thing
from llmops_kit.clouds.azure.arm import ResourceManager
from llmops_kit.clouds.azure.assets import archived
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.errors import KitError

# Resources that Azure itself creates in the group of an Application Insights component, and doesn't remove: a rule for
# each component, and the action group that they notify
# (https://learn.microsoft.com/azure/azure-monitor/alerts/proactive-failure-diagnostics,
# https://github.com/hashicorp/terraform-provider-azurerm/issues/10563).
_DETECTION_RULES = "microsoft.alertsmanagement/smartdetectoralertrules"
_DETECTION_GROUP = "/microsoft.insights/actiongroups/application insights smart detection"


def remove(session: AzureSession, things: Collection[Thing], say: Say) -> list[str]:
    """Removes resources, and says each; returns a line with Azure's reason for each that could not be removed."""
    problems = []
    for kind, removed in _REMOVALS.items():
        for thing in (t for t in things if t.kind == kind):
            say(f"removing {thing.kind} {thing.name}")
            try:
                removed(session.arm, thing)
            except KitError as e:
                problems.append(f"{thing.kind} {thing.name}: {e.what}")
    unknown = [t for t in things if t.kind not in _REMOVALS]
    return problems + [f"{t.kind} {t.name}: remove it by hand" for t in unknown]


def _delete(type_: kinds.Type, **query: str) -> tuple[str, Callable[[ResourceManager, Thing], None]]:
    """Returns a removal by a single request."""

    def removed(arm: ResourceManager, thing: Thing) -> None:
        arm.delete(thing.id, **query)

    return type_.kind, removed


def _stop_job(arm: ResourceManager, thing: Thing) -> None:
    """Cancels a job; its record stays in the workspace's history."""
    arm.post(thing.id, "cancel")


def _deployment(arm: ResourceManager, thing: Thing) -> None:
    """Deletes a deployment. If its endpoint is deleted too, its traffic is removed first, because Azure rejects the
    deletion otherwise.
    """
    endpoint = thing.id.rpartition("/deployments/")[0]
    live = arm.find(endpoint)
    traffic: dict[str, Any] = ((live or {}).get("properties") or {}).get("traffic") or {}
    if traffic.get(thing.id.rpartition("/")[2]):
        return  # its endpoint is deleted too, and the deployment with it
    arm.delete(thing.id)


def _version(arm: ResourceManager, thing: Thing) -> None:
    """Archives a version, and its container with the last one, so that neither is listed any more."""
    arm.put(thing.id, archived(arm.get(thing.id)))
    container = thing.id.rpartition("/versions/")[0]
    if next(arm.list(f"{container}/versions"), None) is None:
        arm.put(container, archived(arm.get(container)))


def _group(arm: ResourceManager, thing: Thing) -> None:
    """Deletes a group if it holds only Azure's own resources: deleting it deletes its content.

    Raises:
        KitError: it holds something else.
    """
    left = [line["id"].rpartition("/")[2] for line in arm.list(f"{thing.id}/resources") if not _is_azures_own(line)]
    if left:
        raise KitError(f"it still holds {', '.join(left[:5])}", where=thing.id)
    arm.delete(thing.id)


def _is_azures_own(line: dict[str, Any]) -> bool:
    return line["type"].lower() == _DETECTION_RULES or line["id"].lower().endswith(_DETECTION_GROUP)


_REMOVALS: dict[str, Callable[[ResourceManager, Thing], None]] = dict(
    [
        _delete(kinds.SCHEDULE),
        (RUN, _stop_job),
        _delete(kinds.SCALING),
        _delete(kinds.QUERY_ALERT),
        _delete(kinds.METRIC_ALERT),
        (kinds.DEPLOYMENT.kind, _deployment),
        _delete(kinds.ENDPOINT),
        _delete(kinds.CLUSTER, underlyingResourceAction="Delete"),
        (kinds.MODEL.kind, _version),
        (kinds.ENVIRONMENT.kind, _version),
        _delete(kinds.BUDGET),
        _delete(kinds.ACTION_GROUP),
        _delete(kinds.PRIVATE_ENDPOINT),
        _delete(kinds.LINK),
        _delete(kinds.ZONE),
        _delete(kinds.WORKSPACE, forceToPurge="true"),  # else its name is reserved for two weeks
        _delete(kinds.METRICS),
        _delete(kinds.LOGS, force="true"),
        _delete(kinds.ASSIGNMENT),
        _delete(kinds.IDENTITY),
        _delete(kinds.CONTAINER),
        _delete(kinds.REGISTRY),
        _delete(kinds.ACCOUNT),
        _delete(kinds.VAULT),
        (kinds.GROUP.kind, _group),
    ]
)
