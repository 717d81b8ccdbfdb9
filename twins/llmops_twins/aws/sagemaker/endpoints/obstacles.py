"""Reasons why an endpoint can't be created or updated, found once its instances exist, in AWS's words."""

import time

from llmops_twins.aws import faults
from llmops_twins.aws import sagemaker_documents as store
from llmops_twins.aws.sagemaker import access, image_lookup
from llmops_twins.aws.sagemaker.endpoints import containers as fleet
from llmops_twins.aws.sagemaker.endpoints import variants
from llmops_twins.aws.sagemaker_documents import MODEL
from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.twin import AWS_TRANSITION_SECONDS, AccountTwin

MODEL_MISSING_SECONDS = 3600
"""Approximate time for which AWS looks for a deleted model before the endpoint fails."""
_NO_CAPACITY = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. "
    "Please retry using a different ML instance type or after some time. Consider configuring InstancePools in your "
    "EndpointConfig with multiple instance types for priority-based fallback to improve capacity availability."
)
"""The message of a failed endpoint in 2026: https://github.com/aws/deep-learning-containers, test/vllm."""


def found(twin: AccountTwin, region: str, endpoint: Document) -> str:
    """Returns why the configuration of an endpoint's rollout can't serve; empty if it can."""
    config = endpoint["rollout"]["config"]
    lasted = time.time() - endpoint["rollout"]["began"]
    for variant in variants.all_of(config):
        if problem := no_capacity(twin, variant):
            return problem
        containers = variants.containers(twin, region, variant)
        if containers is None:
            if lasted > twin.scaled(MODEL_MISSING_SECONDS):
                return f'Could not find model "{store.arn_of(twin, MODEL, region, variant["ModelName"])}".'
            continue
        if problem := _of_containers(twin, region, endpoint, variant, containers):
            return problem
        # The fleet checks containers that run.
        if not fleet.runs(twin) and are_silent(twin, containers) and lasted > twin.scaled(_patience(variant)):
            return (
                f"The primary container for production variant {variant['VariantName']} did not pass the ping health "
                "check. Please check CloudWatch logs for this endpoint."
            )
    return ""


def no_capacity(twin: AccountTwin, variant: Document) -> str:
    """Returns why there is no capacity for a variant's instance type; empty if there is."""
    lacks = [faults.find(twin, "capacity", instance_type=kind) for kind in variants.instance_types(variant)]
    return _NO_CAPACITY if lacks and all(lacks) else ""


def met(twin: AccountTwin, problem: str, config: Document) -> None:
    """Uses up a capacity fault that has stopped an endpoint."""
    for variant in variants.all_of(config):
        if problem == _NO_CAPACITY and no_capacity(twin, variant):
            for kind in variants.instance_types(variant):
                faults.take(twin, "capacity", instance_type=kind)
            return


def lacks_model(twin: AccountTwin, region: str, config: Document) -> bool:
    """Returns whether the model of a variant was deleted."""
    return any(variants.containers(twin, region, each) is None for each in variants.all_of(config))


def are_silent(twin: AccountTwin, containers: list[Document]) -> bool:
    """Returns whether one of the containers never answers."""
    return any(faults.find(twin, "silent", image=each.get("Image", "")) for each in containers)


def _of_containers(
    twin: AccountTwin, region: str, endpoint: Document, variant: Document, containers: list[Document]
) -> str:
    rollout = endpoint["rollout"]
    model = store.lookup(twin, MODEL, region, variant.get("ModelName", "")) or {}
    name, config = endpoint["EndpointName"], rollout["config"]
    if reason := access.denied_endpoint(twin, name, config, model, rollout["deployment"]):
        return reason
    for container in containers:
        image = container.get("Image", "")
        if not image_lookup.is_there(twin, image):
            return f"Requested image {image} not found."
        for uri in _model_data(container):
            if not image_lookup.has_data(twin, uri):
                role = model.get("ExecutionRoleArn", "")
                return (
                    f'Could not find model data at {uri}. Please ensure that the role "{role}" exists and that its '
                    f'trust relationship policy allows the action "sts:AssumeRole" for the service principal '
                    f'"sagemaker.amazonaws.com". Also ensure that the role has "s3:GetObject" permissions and '
                    f"that the object is located in {region}."
                )
    return ""


def _patience(variant: Document) -> float:
    """Returns the seconds on AWS until a container that never answers fails its endpoint."""
    longest = variant.get("ContainerStartupHealthCheckTimeoutInSeconds", fleet.HEALTH_CHECK_SECONDS)
    return AWS_TRANSITION_SECONDS + longest


def _model_data(container: Document) -> list[str]:
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    uris = [container.get("ModelDataUrl"), source.get("S3Uri")]
    additional = container.get("AdditionalModelDataSources", [])
    uris += [each.get("S3DataSource", {}).get("S3Uri") for each in additional]
    return [uri for uri in uris if uri]
