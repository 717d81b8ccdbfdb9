"""Variants of an endpoint as its configuration has them, regardless of how many instances serve now."""

from collections.abc import Mapping

from llmops_twins.aws import faults
from llmops_twins.aws import sagemaker_documents as store
from llmops_twins.aws.sagemaker import image_lookup
from llmops_twins.aws.sagemaker_documents import MODEL
from llmops_twins.aws.service_documents import Document, now
from llmops_twins.aws.twin import AccountTwin


def all_of(config: Document) -> list[Document]:
    """Returns the production and the shadow variants of a configuration."""
    return [*config["ProductionVariants"], *config.get("ShadowProductionVariants", [])]


def fresh(twin: AccountTwin, region: str, config: Document, retained: Mapping[str, Document]) -> dict[str, Document]:
    """Returns the variants of a newly deployed configuration, by name."""
    return {variant["VariantName"]: _live(twin, region, variant, retained) for variant in all_of(config)}


def instance_types(variant: Document) -> list[str]:
    """Returns the instance types that a variant may have, the preferred one first; [""] without any."""
    pools = sorted(variant.get("InstancePools", []), key=lambda pool: pool["Priority"])
    return [pool["InstanceType"] for pool in pools] or [variant.get("InstanceType", "")]


def summaries(config: Document, live: Mapping[str, Document]) -> list[Document]:
    """Returns ProductionVariants for DescribeEndpoint."""
    return deployed(config, live, "ProductionVariants")


def deployed(config: Document, live: Mapping[str, Document], member: str) -> list[Document]:
    """Returns the deployed variants of one member of the configuration."""
    names = [variant["VariantName"] for variant in config.get(member, [])]
    return [live[name] for name in names if name in live]


def containers(twin: AccountTwin, region: str, variant: Document) -> list[Document] | None:
    """Returns the containers of a variant's model; None if the model is gone."""
    name = variant.get("ModelName")
    if not name:
        return []
    model = store.lookup(twin, MODEL, region, name)
    if model is None:
        return None
    return model.get("Containers") or [model["PrimaryContainer"]]


def _live(twin: AccountTwin, region: str, variant: Document, retained: Mapping[str, Document]) -> Document:
    kept = retained.get(variant["VariantName"], {})
    weight = kept.get("DesiredWeight", variant.get("InitialVariantWeight", 1.0))
    live: Document = {"VariantName": variant["VariantName"], "CurrentWeight": weight, "DesiredWeight": weight}
    live["DeployedImages"] = [
        {
            "SpecifiedImage": container["Image"],
            "ResolvedImage": image_lookup.resolved(twin, container["Image"]),
            "ResolutionTime": now(),
        }
        for container in containers(twin, region, variant) or []
        if "Image" in container
    ]
    if serverless := variant.get("ServerlessConfig"):
        return live | {"CurrentServerlessConfig": serverless, "DesiredServerlessConfig": serverless}
    count = kept.get("DesiredInstanceCount", variant.get("InitialInstanceCount", 1))
    if variant.get("InstancePools"):
        live["InstancePools"] = _pools(twin, variant, count)
    for name in ("ManagedInstanceScaling", "RoutingConfig"):
        if name in variant:
            live[name] = variant[name]
    return live | {"CurrentInstanceCount": count, "DesiredInstanceCount": count}


def _pools(twin: AccountTwin, variant: Document, count: int) -> list[Document]:
    """Returns the pools with their instances: all of the first pool whose type has capacity ("priority-based fallback",
    API_InstancePool and API_InstancePoolSummary).
    """
    kinds = instance_types(variant)
    chosen = next((kind for kind in kinds if not faults.find(twin, "capacity", instance_type=kind)), kinds[0])
    return [{"InstanceType": kind, "CurrentInstanceCount": count if kind == chosen else 0} for kind in kinds]
