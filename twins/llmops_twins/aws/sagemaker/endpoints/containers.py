"""Stores the planned containers of an endpoint in its document (`groups`), and passes them to the twin's fleet.

A group holds the instances of one configuration. During an update an endpoint has two groups; the first is the one that
served before.
"""

import math
import secrets
from collections.abc import Iterable, Mapping

from llmops_twins.aws import sagemaker_documents as store
from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.sagemaker import image_lookup
from llmops_twins.aws.sagemaker.endpoints import variants
from llmops_twins.aws.sagemaker.fleet.fleet import PING
from llmops_twins.aws.sagemaker_documents import ENDPOINT
from llmops_twins.aws.service_documents import Document, regions
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core.fleet.plan import ContainerPlan, FleetPlan, GroupPlan, ModelDataSource, VariantPlan

HEALTH_CHECK_SECONDS = 240
"""Default time limit for a container's first answer to /ping."""
DOWNLOAD_SECONDS = 3600
"""Default time limit for the download of model data."""
_MODEL = "/opt/ml/model"


def runs(twin: AccountTwin) -> bool:
    """Returns whether this twin runs containers."""
    return twin.settings.containers == "run"


def resume(twin: AccountTwin) -> None:
    """Passes the plans of all endpoints in a loaded state to the fleet."""
    with twin.lock:
        endpoints = [
            e for region in regions(twin, store.SERVICE) for e in store.documents(twin, ENDPOINT, region).values()
        ]
        twin.fleet.resume([_plan_of(endpoint) for endpoint in endpoints])


def tell(twin: AccountTwin, endpoint: Document) -> None:
    """Passes the plan in an endpoint's document to the fleet."""
    twin.fleet.want(_plan_of(endpoint))
    twin.changed()


def add_group(
    twin: AccountTwin, region: str, endpoint: Document, config: Document, live: Mapping[str, Document]
) -> str:
    """Plans the instances of a configuration, without traffic at first; returns the group's id.

    Raises:
        AwsApiError: a container can't run on this twin; the message gives the reason.
    """
    planned = [
        VariantPlan(
            name=variant["VariantName"],
            weight=live[variant["VariantName"]]["DesiredWeight"],
            instances=_new_instances(_count(live[variant["VariantName"]])),
            container=_container(twin, region, variant, found),
        )
        for variant in config["ProductionVariants"]  # shadow variants get no requests here, hence no instances
        if (found := variants.containers(twin, region, variant))
    ]
    group = GroupPlan(id=secrets.token_hex(4), name=config["EndpointConfigName"], share=0.0, variants=planned)
    endpoint.setdefault("groups", []).append(group.model_dump(mode="json"))
    return group.id


def keep_group(endpoint: Document, group: str | None) -> None:
    """Sends all requests to one group and drops the others; None drops all."""
    endpoint["groups"] = [{**each, "share": 100.0} for each in endpoint.get("groups", []) if each["id"] == group]


def share(endpoint: Document, group: str, percent: float) -> None:
    """Gives a group a share of the traffic, and the rest to the other group."""
    for each in endpoint["groups"]:
        each["share"] = percent if each["id"] == group else 100.0 - percent


def others(endpoint: Document, group: str) -> list[Document]:
    """Returns all groups but one."""
    return [each for each in endpoint.get("groups", []) if each["id"] != group]


def resize(group: Document, counts: Mapping[str, int], percent: float = 100.0) -> None:
    """Sets the instances of a group's variants to the given counts, scaled by a percentage and rounded up."""
    for variant in group["variants"]:
        wanted = math.ceil(counts.get(variant["name"], len(variant["instances"])) * percent / 100)
        have = variant["instances"]
        variant["instances"] = have[:wanted] + _new_instances(wanted - len(have))


def counts(live: Mapping[str, Document]) -> dict[str, int]:
    """Returns the desired instances of each variant."""
    return {name: _count(variant) for name, variant in live.items()}


def weigh(group: Document, live: Mapping[str, Document]) -> None:
    """Sets the variants of a group to their desired weights."""
    for variant in group["variants"]:
        variant["weight"] = live.get(variant["name"], {}).get("DesiredWeight", variant["weight"])


def _plan_of(endpoint: Document) -> FleetPlan:
    return FleetPlan.of(endpoint["EndpointArn"], endpoint["EndpointName"], endpoint.get("groups", []))


def _count(live: Document) -> int:
    return live.get("DesiredInstanceCount", 1)  # a serverless variant runs as one instance that never scales to zero


def _new_instances(count: int) -> list[str]:
    return [f"i-{secrets.token_hex(9)[:17]}" for _ in range(count)]


def _container(twin: AccountTwin, region: str, variant: Document, found: list[Document]) -> ContainerPlan:
    name = variant["VariantName"]
    if len(found) > 1:
        raise AwsApiError(
            "ValidationException",
            f"This twin of AWS runs one container an instance, and the model of production variant {name} has "
            f"{len(found)}: give it a PrimaryContainer.",
        )
    container = found[0]
    if container.get("Mode", "SingleModel") != "SingleModel":
        text = f"This twin of AWS serves one model a container; production variant {name} asks for {container['Mode']}."
        raise AwsApiError("ValidationException", text)
    if container.get("AdditionalModelDataSources"):
        text = f"This twin of AWS gives a container no AdditionalModelDataSources: production variant {name} has some."
        raise AwsApiError("ValidationException", text)
    image = container.get("Image", "")
    return ContainerPlan(
        image=image,
        reference=image_lookup.runnable(twin, image),
        environ=container.get("Environment", {}),
        arguments=["serve"],
        data=list(_sources(container)),
        download_seconds=variant.get("ModelDataDownloadTimeoutInSeconds", DOWNLOAD_SECONDS),
        start_seconds=variant.get("ContainerStartupHealthCheckTimeoutInSeconds", HEALTH_CHECK_SECONDS),
        ready=PING,
    )


def _sources(container: Document) -> Iterable[ModelDataSource]:
    if url := container.get("ModelDataUrl"):
        yield ModelDataSource(uri=url, archive=True, path=_MODEL)
    if source := container.get("ModelDataSource", {}).get("S3DataSource"):
        yield ModelDataSource(uri=source["S3Uri"], archive=source.get("CompressionType") == "Gzip", path=_MODEL)
