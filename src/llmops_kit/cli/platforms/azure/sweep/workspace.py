"""The kit's resources of Azure Machine Learning: endpoints, deployments, clusters, schedules, versions, running jobs.

Every workspace of the subscription is searched, since a stack may use an existing one.
https://learn.microsoft.com/rest/api/azureml/
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from llmops_kit.cli.platforms.azure.job_states import has_ended
from llmops_kit.cli.platforms.azure.sweep.look import (
    CLUSTER,
    DEPLOYMENT,
    ENDPOINT,
    ENVIRONMENT,
    MODEL,
    SCHEDULE,
    AzureLook,
    Type,
    created,
)
from llmops_kit.cli.platforms.sweep import RUN, Thing
from llmops_kit.clouds.azure.arm import Document
from llmops_kit.clouds.azure.job_requests import JOBS_TAG

_WORKSPACES = "Microsoft.MachineLearningServices/workspaces"
_RUNS = Type(RUN)


def things(look: AzureLook) -> Iterator[Thing]:
    """Yields the project's resources in workspaces, without ended jobs, which cost nothing."""
    for workspace in look.of_type(_WORKSPACES):
        if str(workspace.get("kind") or "Default") == "Default":  # others are hubs, projects and feature stores
            yield from _in_workspace(look, workspace["id"])


def _in_workspace(look: AzureLook, workspace: str) -> Iterator[Thing]:
    used: dict[str, str] = {}  # what a deployment uses -> its id, both in lower case
    for endpoint in look.arm.list(f"{workspace}/onlineEndpoints"):
        deployments = list(look.arm.list(f"{endpoint['id']}/deployments"))
        for deployment in deployments:
            for needed in ("model", "environmentId"):
                used[str(deployment["properties"].get(needed) or "").lower()] = deployment["id"]
        yield from _serving(look, endpoint, deployments)
    sizes: dict[str, Document] = {}
    for cluster in look.arm.list(f"{workspace}/computes"):
        sizes[cluster["id"].lower()] = cluster
        if look.is_ours(cluster.get("tags")):
            nodes = int(_cluster(cluster).get("currentNodeCount") or 0)
            yield look.thing(
                CLUSTER,
                cluster["id"],
                cluster["tags"],
                created=created(cluster),
                usd_month=_machines(look, cluster, nodes),
            )
    for schedule in look.arm.list(f"{workspace}/schedules"):
        yield from _tagged(look, SCHEDULE, schedule)
    for kind, collection in ((MODEL, "models"), (ENVIRONMENT, "environments")):
        for container in look.arm.list(f"{workspace}/{collection}", listViewType="All"):  # newer versions may exist
            for version in look.arm.list(f"{container['id']}/versions"):
                for thing in _tagged(look, kind, version):
                    yield replace(thing, needed_by=used.get(thing.id.lower(), ""))
    yield from _jobs(look, workspace, sizes)


def _serving(look: AzureLook, endpoint: Document, deployments: list[Document]) -> Iterator[Thing]:
    """Yields an endpoint with its deployments; one that receives requests is used by its endpoint."""
    if look.is_ours(endpoint.get("tags")):
        yield look.thing(ENDPOINT, endpoint["id"], endpoint["tags"], created=created(endpoint))
    properties = endpoint["properties"]
    asked = {
        name
        for member in ("traffic", "mirrorTraffic")
        for name, share in (properties.get(member) or {}).items()
        if share
    }
    for deployment in deployments:
        if not look.is_ours(deployment.get("tags")):
            continue
        count = int((deployment.get("sku") or {}).get("capacity") or 0)
        price = look.prices(deployment["location"]).instance("hosting", deployment["properties"]["instanceType"])
        yield look.thing(
            DEPLOYMENT,
            deployment["id"],
            deployment["tags"],
            created=created(deployment),
            usd_month=look.month(price, count),
            needed_by=endpoint["id"] if deployment["name"] in asked else "",
        )


def _jobs(look: AzureLook, workspace: str, sizes: dict[str, Document]) -> Iterator[Thing]:
    for job in look.arm.list(f"{workspace}/jobs", jobType="Command", tag=JOBS_TAG):
        properties = job["properties"]
        if has_ended(job) or not look.is_ours(properties.get("tags")):
            continue
        cluster = sizes.get(str(properties.get("computeId") or "").lower())
        nodes = int((properties.get("resources") or {}).get("instanceCount") or 1)
        cost = _machines(look, cluster, nodes) if cluster else None
        yield look.thing(_RUNS, job["id"], properties["tags"], created=created(job), usd_month=cost)


def _tagged(look: AzureLook, kind: Type, document: Document) -> Iterator[Thing]:
    """Yields a resource whose tags are among its properties."""
    tags = document["properties"].get("tags")
    if look.is_ours(tags):
        yield look.thing(kind, document["id"], tags, created=created(document))


def _cluster(document: Document) -> dict[str, Any]:
    return document["properties"].get("properties") or {}


def _machines(look: AzureLook, cluster: Document, nodes: int) -> float | None:
    """Returns the dollars per month of `nodes` of a cluster's machines."""
    size = _cluster(cluster)
    kind = "spot" if size.get("vmPriority") == "LowPriority" else "training"
    location = str(cluster["properties"].get("computeLocation") or cluster.get("location") or "")
    price = look.prices(location).instance(kind, str(size.get("vmSize", "")))
    return look.month(price, nodes) if nodes else 0.0
