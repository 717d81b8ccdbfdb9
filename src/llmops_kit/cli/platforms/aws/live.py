"""Reads the live state of an endpoint on SageMaker, from its current configuration and models."""

from dataclasses import dataclass
from typing import Any

from llmops_kit.cli.interfaces.platform import Live
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.clouds.aws.errors import explained, find
from llmops_kit.clouds.aws.names import MODEL_SHA256
from llmops_kit.core.layout import model_key


@dataclass(frozen=True)
class _Loaded:
    """The model resource of a variant."""

    sha256: str
    image: str
    problem: str = ""


def look(clients: AwsClients, name: str, image: str) -> Live:
    """Returns the state of an endpoint, its current configuration, and that configuration's models.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeEndpoint.html

    Args:
        clients: of the stack's account.
        name: the endpoint's name on SageMaker.
        image: the image that was deployed; another one is drift.
    """
    sagemaker = clients("sagemaker")
    with explained(f"endpoint {name}"):
        endpoint = find(sagemaker.describe_endpoint, EndpointName=name)
        if endpoint is None:
            return Live(ready=False, problem="there is no such endpoint on SageMaker: it was taken down or deleted")
        variants = endpoint.get("ProductionVariants", [])
        loaded = _models_of(sagemaker, endpoint["EndpointConfigName"])
    status = endpoint["EndpointStatus"]
    problems = [*_state(endpoint), *(m.problem for m in loaded.values() if m.problem)]
    drift = [f"image {m.image} instead of {image}" for m in loaded.values() if m.image and image and m.image != image]
    return Live(
        ready=status == "InService",
        models=_shares(variants, loaded),
        workers=sum(int(v.get("CurrentInstanceCount", 0)) for v in variants),
        problem="; ".join(problems),
        drift=tuple(drift),
        undone=endpoint.get("FailureReason", "") if status in ("InService", "RollingBack") else "",
        changed=endpoint["LastModifiedTime"].timestamp(),
    )


def _state(endpoint: dict[str, Any]) -> list[str]:
    status = endpoint["EndpointStatus"]
    if status == "InService":
        return []
    reason = endpoint.get("FailureReason", "")
    return [f"{status}: {reason}" if reason else status]


def _models_of(sagemaker: Any, configuration: str) -> dict[str, _Loaded]:
    """Returns variant -> its model. A missing configuration or model is reported as a problem, not raised."""
    answer = find(sagemaker.describe_endpoint_config, EndpointConfigName=configuration)
    if answer is None:
        return {"": _Loaded("", "", f"its configuration {configuration} was deleted")}
    return {v["VariantName"]: _model(sagemaker, v.get("ModelName", "")) for v in answer["ProductionVariants"]}


def _model(sagemaker: Any, name: str) -> _Loaded:
    answer = find(sagemaker.describe_model, ModelName=name)
    if answer is None:
        return _Loaded("", "", f"its model {name} was deleted")
    container = answer.get("PrimaryContainer") or (answer.get("Containers") or [{}])[0]
    sha256 = container.get("Environment", {}).get(MODEL_SHA256, "")
    data = container.get("ModelDataSource", {}).get("S3DataSource", {}).get("S3Uri", "")
    if data and not data.rstrip("/").endswith(f"/{model_key(sha256)}"):
        return _Loaded(sha256, container.get("Image", ""), f"model {name} says {sha256[:12]} and loads {data}")
    return _Loaded(sha256, container.get("Image", ""))


def _shares(variants: list[dict[str, Any]], loaded: dict[str, _Loaded]) -> dict[str, float]:
    """Returns identity -> share of the traffic, by the endpoint's current weights."""
    weights = {v["VariantName"]: float(v.get("CurrentWeight", 1.0)) for v in variants} or dict.fromkeys(loaded, 1.0)
    total = sum(weights.values()) or 1.0
    shares: dict[str, float] = {}
    for variant, model in loaded.items():
        if model.sha256:
            shares[model.sha256] = shares.get(model.sha256, 0.0) + weights.get(variant, 0.0) / total
    return shares
