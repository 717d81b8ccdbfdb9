"""Finds the kit's resources in a subscription: in its list of resources, and in services that the list omits."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.platforms.azure.sweep import removal, untagged, workspace
from llmops_kit.cli.platforms.azure.sweep.look import GROUP, IDENTITY, NO_KIND, TYPES, AzureLook, Type, created
from llmops_kit.cli.platforms.sweep import Thing
from llmops_kit.clouds.azure.session import AzureSession


class AzureSweeper:
    """See llmops_kit.cli.platforms.sweep.Sweeper. Searches all locations of a subscription."""

    def __init__(self, session: AzureSession) -> None:
        self._session = session
        self._subscription = session.subscription
        self.place = f"the twin, {self._subscription}" if session.twin else f"subscription {self._subscription}"

    def things(self, project: str) -> list[Thing]:
        """See llmops_kit.cli.platforms.sweep.Sweeper."""
        root = f"/subscriptions/{self._subscription}"
        lines = list(self._session.arm.list(f"{root}/resources", **{"$expand": "createdTime"}))
        look = AzureLook(self._session.arm, self._subscription, project, lines)
        found = {t.id.lower(): t for t in (*_listed(look), *_groups(look), *workspace.things(look))}
        stacks = {t.stack for t in found.values()}
        found |= {t.id.lower(): t for t in untagged.things(look, stacks)}
        return list(found.values())

    def lives_here(self, outputs: Mapping[str, Any]) -> bool:
        """See llmops_kit.cli.platforms.sweep.Sweeper."""
        azure = outputs.get("azure") or {}
        return str(azure.get("subscription", self._subscription)).lower() == self._subscription.lower()

    def remove(self, things: Collection[Thing], say: Say) -> list[str]:
        """See llmops_kit.cli.platforms.sweep.Sweeper."""
        return removal.remove(self._session, things, say)


def _listed(look: AzureLook) -> Iterator[Thing]:
    """Yields the listed resources, except those that a workspace describes more exactly."""
    kept_by = _identities_of_workspaces(look)
    for line in look.lines:
        if not look.is_ours(line.get("tags")):
            continue
        type_ = TYPES.get(line["type"].lower())
        more: dict[str, Any] = {"created": created(line)}
        if type_ is None:
            # An Azure policy may have copied the tags of a group to resources of others.
            yield look.thing(Type(line["type"]), line["id"], line["tags"], keep=NO_KIND, **more)
            continue
        if type_ is IDENTITY and line["id"].lower() in kept_by:
            more["data"] = True  # it exists as long as the workspace does
        yield look.thing(type_, line["id"], line["tags"], usd_month=look.flat_cost(type_, line), **more)


def _groups(look: AzureLook) -> Iterator[Thing]:
    for group in look.arm.list(f"{look.root}/resourcegroups"):
        if look.is_ours(group.get("tags")):
            yield look.thing(GROUP, group["id"], group["tags"], usd_month=0.0)


def _identities_of_workspaces(look: AzureLook) -> set[str]:
    workspaces = look.of_type("Microsoft.MachineLearningServices/workspaces")
    found = ((line.get("identity") or {}).get("userAssignedIdentities") or {} for line in workspaces)
    return {id_.lower() for identities in found for id_ in identities}
