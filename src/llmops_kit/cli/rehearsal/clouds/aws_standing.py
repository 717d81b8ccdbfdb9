"""Lists SageMaker's machines that are billed by the hour: those of endpoints and jobs, in every form of the API.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProductionVariant.html
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html
"""

from collections.abc import Iterator, Mapping
from typing import Any

from llmops_kit.cli.rehearsal.cloud import Standing
from llmops_kit.cli.rehearsal.clouds.aws_inventory import each
from llmops_kit.clouds.aws.errors import find

_GONE = ("Deleting", "Failed")
_BILLED = ("InProgress", "Stopping")
_SERVERLESS = "serverless inference"
_UNKNOWN = "machines of a form that the kit does not know"
_NO_CONFIGURATION = "an endpoint whose configuration was deleted"
Machines = Iterator[tuple[str, int]]
"""Instance types, or descriptions of machines without an hourly price, and their counts."""


def standing(sagemaker: Any, only: str = "") -> Iterator[Standing]:
    """Yields the machines of endpoints and running jobs whose names contain `only`; doesn't describe others."""
    for listed in each(sagemaker, "list_endpoints", "Endpoints"):
        name = listed["EndpointName"]
        if only in name and listed["EndpointStatus"] not in _GONE:
            for type_, count in _of_endpoint(sagemaker, name):
                yield Standing(name, "hosting", type_, count)
    for status in _BILLED:
        for listed in each(sagemaker, "list_training_jobs", "TrainingJobSummaries", StatusEquals=status):
            name = listed["TrainingJobName"]
            job = find(sagemaker.describe_training_job, TrainingJobName=name) if only in name else None
            for type_, count in _of_job(job or {}):
                yield Standing(name, "training", type_, count)


def _of_endpoint(sagemaker: Any, name: str) -> Machines:
    live = find(sagemaker.describe_endpoint, EndpointName=name)
    if live is None:
        return  # deleted since it was listed
    config = find(sagemaker.describe_endpoint_config, EndpointConfigName=live["EndpointConfigName"])
    if config is None:
        yield _NO_CONFIGURATION, 1
        return
    for kind in ("ProductionVariants", "ShadowProductionVariants"):
        running = {variant["VariantName"]: variant for variant in live.get(kind, [])}
        for variant in config.get(kind, []):
            yield from _of_variant(variant, running.get(variant["VariantName"], {}))


def _of_variant(variant: Mapping[str, Any], live: Mapping[str, Any]) -> Machines:
    asked = variant.get("InitialInstanceCount", 1)
    if "ServerlessConfig" in variant:
        yield _SERVERLESS, 1
    elif pools := live.get("InstancePools") or variant.get("InstancePools"):
        yield from ((pool["InstanceType"], pool.get("CurrentInstanceCount", asked)) for pool in pools)
    else:
        yield variant.get("InstanceType", _UNKNOWN), live.get("CurrentInstanceCount", asked)


def _of_job(job: Mapping[str, Any]) -> Machines:
    resources = job.get("ResourceConfig", {})
    chosen = resources.get("SelectedInstanceType")
    if groups := resources.get("InstanceGroups"):
        yield from ((group["InstanceType"], group["InstanceCount"]) for group in groups)
    elif chosen:
        yield chosen, resources["SelectedInstanceCount"]
    elif job and "InstancePreferences" not in resources:  # none of the preferences is selected yet, so none is billed
        yield resources.get("InstanceType", _UNKNOWN), resources.get("InstanceCount", 1)
