"""CloudWatch's metrics of endpoints' requests.

Each is written twice: for a variant over all fleets that serve it, and for its fleet of one configuration
(EndpointConfigName).
https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html
"""

from collections.abc import Iterator, Mapping, Sequence

from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core.fleet.cloud import FleetRequest, Load

_NAMESPACE = "AWS/SageMaker"
_AUTOSCALING = "application-autoscaling"


def values(request: FleetRequest) -> Iterator[tuple[str, float, str]]:
    """Yields name, value and unit of each metric of a request."""
    yield "Invocations", 1.0, "None"
    yield "InvocationsPerInstance", 1.0 / max(1, request.instances), "None"
    yield "Invocation4XXErrors", float(400 <= request.status < 500), "None"
    yield "Invocation5XXErrors", float(request.status == 0 or request.status >= 500), "None"
    yield "ModelLatency", 1e6 * request.model_seconds, "Microseconds"
    yield "OverheadLatency", 1e6 * request.overhead_seconds, "Microseconds"
    if request.first_byte_seconds is not None:
        yield "FirstChunkModelLatency", 1e6 * request.first_byte_seconds, "Microseconds"
        yield "FirstChunkLatency", 1e6 * (request.first_byte_seconds + request.overhead_seconds), "Microseconds"


def put(twin: AccountTwin, requests: Sequence[tuple[float, FleetRequest]], loads: Mapping[Load, int]) -> None:
    """Writes counts as metrics; with the twin's lock held."""
    from llmops_twins.aws.services.cloudwatch import cloudwatch

    for when, request in requests:
        of_variant = _dimensions(request.endpoint, request.variant)
        for name, value, unit in values(request):
            for dimensions in (of_variant, (("EndpointConfigName", request.group), *of_variant)):
                metric = cloudwatch.CloudWatchMetric(_NAMESPACE, name, dimensions)
                cloudwatch.put(twin, region_of(request.endpoint_id), metric, value, unit, round(when, 3))
    for (arn, endpoint, variant), value in loads.items():
        metric = cloudwatch.CloudWatchMetric(_NAMESPACE, "ConcurrentRequestsPerModel", _dimensions(endpoint, variant))
        cloudwatch.put(twin, region_of(arn), metric, float(value))


def is_scaled(twin: AccountTwin, load: Load) -> bool:
    """Returns whether a scaling policy may read the request metrics of a variant."""
    arn, endpoint, variant = load
    targets = twin.state.get(_AUTOSCALING, {}).get(region_of(arn), {}).get("targets", {})
    return any(target["ResourceId"] == f"endpoint/{endpoint}/variant/{variant}" for target in targets.values())


def _dimensions(endpoint: str, variant: str) -> tuple[tuple[str, str], ...]:
    return ("EndpointName", endpoint), ("VariantName", variant)


def region_of(arn: str) -> str:
    """Returns the region that an ARN names, its fourth part; empty for global services."""
    return arn.split(":")[3]
