"""Reads the live endpoint before it or a deployment is put again, and removes obstacles.

A PUT replaces a whole resource: without traffic, a PUT of the endpoint removes its traffic, and a PUT of a deployment
sets its instance count, overriding autoscaling. So live traffic and counts are read, recorded, and put along with the
declared content. Without a change of the content, and after `refresh`, nothing is put.

An autoscale setting would restore its instance count, and the engine deletes it last. So if the settings change to a
fixed count, it is deleted here first.

Azure keeps resources that it failed to create as Failed, which `refresh` accepts as the declared ones. So repairs are
counted here, and the count is a tag: a failed resource then differs from its declaration and is put again.
"""

from typing import Any, Literal

import pulumi
from pulumi import dynamic

from llmops_kit.clouds.azure.endpoint_documents import instances_of, owner_of, state_of, traffic_of
from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.session import arm_of
from llmops_kit.infra.targets.azure.online import (
    BROKEN,
    find_deployment,
    find_endpoint,
    name_of,
    remove_broken,
    wait_for_owner,
)
from llmops_kit.infra.targets.azure.providers.located import AzureLocatedResource
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, differ, inputs_of, say

Part = Literal["endpoint", "deployment", "scaling"]
_REPAIRS_TAG = "llmops:repairs"


class AzurePreparationProvider(KitProvider):
    """Adds inputs: traffic, mirror, capacity and repairs, with which endpoint and deployment are put; and `broken`:
    which of the two failed.
    """

    def check(self, _olds: Properties, news: Properties) -> dynamic.CheckResult:
        """Read the live state if something is put again; here, so that previews have it too."""
        live = find_endpoint(news)
        broken = _broken(news, live)
        known = {
            "traffic": _olds.get("traffic", {}),
            "mirror": _olds.get("mirror", {}),
            "capacity": _capacity(_olds, news, live),
            "broken": broken,
            "repairs": _repairs(_olds, news, broken),
        }
        if _olds and (_olds["content"] != news["content"] or "endpoint" in broken):
            known |= {"traffic": traffic_of(live), "mirror": traffic_of(live, "mirrorTraffic")}
        return dynamic.CheckResult(news | known, [])

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.DiffResult:
        """Reports changed inputs, and a rollout that another client has started."""
        waits = owner_of(find_endpoint(_news)) is not None
        news = {key: value for key, value in _news.items() if key != "scaling"}  # an id, which alone changes nothing
        return dynamic.DiffResult(changes=differ(_olds, news) or waits)

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Removes obstacles to a new endpoint."""
        _make_way(props)
        return dynamic.CreateResult(props["endpoint"], _prepared(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Removes obstacles before the endpoint or its deployment is put."""
        _make_way(_news)
        if _stops_scaling(_olds, _news):
            say(f"{name_of(_news)}: deleting its autoscaling before its instance count is set")
            arm_of(_news).delete(_news["scaling"])
        return dynamic.UpdateResult(_prepared(_news))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Reads the live state; `refresh` records the same for the endpoint and the deployment."""
        live = find_endpoint(props)
        found = inputs_of(props) | {
            "traffic": traffic_of(live),
            "mirror": traffic_of(live, "mirrorTraffic"),
            "capacity": _live_count(props, props["deployment"]) or props["capacity"],
        }
        return dynamic.ReadResult(id_, found, found)


class AzurePreparation(AzureLocatedResource, module="llmops", name="Preparation"):
    """Precedes an endpoint.

    Inputs: endpoint and scaling (resource ids), deployment (name), content (digest of the endpoint's properties),
    settings (digest of the deployment's properties that change in place), instances, max_instances (0: not scaled).
    """

    PROVIDER = AzurePreparationProvider
    COMPUTED = ("traffic", "mirror", "capacity", "broken", "repairs")
    traffic: pulumi.Output[dict[str, int]]
    mirror: pulumi.Output[dict[str, int]]
    capacity: pulumi.Output[int]
    repairs: pulumi.Output[dict[str, int]]

    def tags(self, part: Part) -> pulumi.Output[dict[str, str]]:
        """Tags of a part besides the stack's own."""
        return self.repairs.apply(lambda all_: {_REPAIRS_TAG: str(int(all_[part]))} if all_.get(part) else {})


def _make_way(props: Properties) -> None:
    """Waits for a running rollout, then removes a failed deployment. One that gets requests is put again instead,
    because Azure rejects its deletion.
    """
    wait_for_owner(props)
    name = props["deployment"]
    if "deployment" in props["broken"] and remove_broken(AzureLocation.of(props), props["endpoint"], name):
        say(f"{name_of(props)}: removed its failed deployment {name}, which is created again")


def _prepared(props: Properties) -> Properties:
    """Returns the properties to record: nothing is broken any more once it is put again."""
    return inputs_of(props) | {"broken": []}


def _broken(props: Properties, live: dict[str, Any] | None) -> list[Part]:
    found: dict[Part, dict[str, Any] | None] = {"endpoint": live}
    found["deployment"] = find_deployment(props, props["deployment"]) if live else None
    return [part for part, document in found.items() if document and state_of(document) in BROKEN]


def _repairs(olds: Properties, news: Properties, broken: list[Part]) -> dict[str, int]:
    """Returns how often each part was put again; a new deployment starts at 0. For scaling: how often it was deleted
    here, since it is still in the state, but not on Azure, if the update then fails and is reverted.

    A deployment that autoscaling has resized is put again when its count becomes fixed: the state has the count with
    which it was put last, which may be the fixed one.
    """
    before = dict(olds.get("repairs") or {})
    if olds and olds["deployment"] != news["deployment"]:
        before["deployment"] = 0
    stops = _stops_scaling(olds, news)
    again = {*broken, *(["deployment"] if stops and _is_resized(news) else [])}
    found = {part: int(before.get(part, 0)) + (part in again) for part in ("endpoint", "deployment")}
    removed = int(before.get("scaling", 0)) + stops
    return found | ({"scaling": removed} if removed else {})


def _stops_scaling(olds: Properties, news: Properties) -> bool:
    return bool(olds.get("max_instances")) and not news["max_instances"]


def _is_resized(props: Properties) -> bool:
    return _live_count(props, props["deployment"]) not in (0, int(props["instances"]))


def _capacity(olds: Properties, news: Properties, live: dict[str, Any] | None) -> int:
    """Returns the instance count with which the deployment is put."""
    if not news["max_instances"]:
        return int(news["instances"])
    same = ("deployment", "settings", "instances", "max_instances")
    if olds and all(olds[key] == news[key] for key in same):
        return int(olds["capacity"])
    serving = max(traffic_of(live).items(), key=lambda item: item[1], default=(news["deployment"], 0))[0]
    count = _live_count(news, serving) or int(news["instances"])
    return min(max(count, int(news["instances"])), int(news["max_instances"]))


def _live_count(props: Properties, deployment: str) -> int:
    return instances_of(find_deployment(props, deployment))
