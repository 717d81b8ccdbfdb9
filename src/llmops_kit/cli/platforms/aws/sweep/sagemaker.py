"""Finds the kit's resources on SageMaker: endpoints, configurations, models, running jobs, model package groups."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from llmops_kit.cli.platforms.aws.sweep.look import AwsLook
from llmops_kit.cli.platforms.sweep import RUN, Thing
from llmops_kit.clouds.aws.errors import find

_RUNNING = ("InProgress", "Stopping")


def things(look: AwsLook) -> Iterator[Thing]:
    """Yields the project's SageMaker resources, by name and tags; not ended jobs, which are records that cost nothing.

    A configuration or model in use names its endpoint: after a rollback, it may differ from the one in the stack's
    state.
    """
    endpoints = [_endpoint(look, t) for t in _listed(look, "endpoint", "list_endpoints", "Endpoints", "Endpoint")]
    users: dict[str, str] = {}
    for thing, configuration in endpoints:
        users |= dict.fromkeys((configuration.get("EndpointConfigName", ""), *_models(configuration)), thing.id)
        yield thing
    for kind, operation, key, prefix in (
        ("endpoint configuration", "list_endpoint_configs", "EndpointConfigs", "EndpointConfig"),
        ("model", "list_models", "Models", "Model"),
    ):
        for thing in _listed(look, kind, operation, key, prefix):
            yield replace(thing, needed_by=users.get(thing.name, ""))
    yield from _jobs(look)
    group = ("list_model_package_groups", "ModelPackageGroupSummaryList", "ModelPackageGroup")
    for thing in _listed(look, "model package group", *group):
        yield replace(thing, data=True)


def _listed(look: AwsLook, kind: str, operation: str, key: str, prefix: str, **filters: Any) -> Iterator[Thing]:
    client = look.clients("sagemaker")
    for entry in look.pages("sagemaker", operation, key, NameContains=look.prefix, **filters):
        name, arn = entry[f"{prefix}Name"], entry[f"{prefix}Arn"]
        tags = look.tagged.get(arn)
        if tags is None and name.startswith(look.prefix):
            tags = look.tags(client.list_tags, "Tags", ResourceArn=arn)
            if tags is None:
                continue
        yield look.thing(kind, name, arn, tags, created=entry["CreationTime"])


def _endpoint(look: AwsLook, thing: Thing) -> tuple[Thing, Mapping[str, Any]]:
    """Returns an endpoint with its cost, and its configuration; {} if the configuration or the endpoint is gone."""
    client = look.clients("sagemaker")
    live = find(client.describe_endpoint, EndpointName=thing.name)
    configuration = live and find(client.describe_endpoint_config, EndpointConfigName=live["EndpointConfigName"])
    if not live or not configuration:
        return thing, {}
    types = {v["VariantName"]: v.get("InstanceType", "") for v in configuration["ProductionVariants"]}
    cost: float | None = 0.0
    for variant in live.get("ProductionVariants", []):
        price = look.prices.instance("hosting", types.get(variant["VariantName"], ""))
        month = look.month(price, int(variant.get("CurrentInstanceCount", 0)))
        cost = None if cost is None or month is None else cost + month
    return replace(thing, usd_month=cost), configuration


def _models(configuration: Mapping[str, Any]) -> Iterator[str]:
    for variant in configuration.get("ProductionVariants", []):
        if model := variant.get("ModelName"):
            yield model


def _jobs(look: AwsLook) -> Iterator[Thing]:
    client = look.clients("sagemaker")
    for status in _RUNNING:
        listed = ("list_training_jobs", "TrainingJobSummaries", "TrainingJob")
        for thing in _listed(look, RUN, *listed, StatusEquals=status):
            job = find(client.describe_training_job, TrainingJobName=thing.name)
            if job is None:
                continue
            resources = job["ResourceConfig"]
            price = look.prices.instance("training", resources.get("InstanceType", ""))
            yield replace(thing, usd_month=look.month(price, int(resources.get("InstanceCount", 1))))
