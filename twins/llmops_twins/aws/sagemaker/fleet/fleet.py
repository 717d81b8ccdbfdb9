"""SageMaker's rules and messages for the containers of endpoints (core/fleet/fleet.py)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from llmops_twins.aws import faults
from llmops_twins.aws.sagemaker.fleet import data, request_metrics
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core.faults import Faults
from llmops_twins.core.fleet.cloud import FleetRequest, Identity, Load, Trouble
from llmops_twins.core.fleet.container_logs import KEPT_LINES
from llmops_twins.core.fleet.fleet import Fleet, Lease, NoWorkerError
from llmops_twins.core.fleet.plan import ContainerPlan, ModelDataSource, Probe

__all__ = ["PING", "Fleet", "Lease", "NoWorkerError", "install"]
PING = Probe(path="/ping", timeout=2.0, every=5.0, failures=3)
"""SageMaker's health check of a container."""


def install(twin: AccountTwin) -> None:
    """Gives the twin a fleet of containers."""
    twin.fleet = Fleet(twin, AwsFleetCloud(twin))
    twin.clearers.append(twin.fleet.clear)
    twin.closers.append(twin.fleet.close)


class AwsFleetCloud:
    """SageMaker's part of a fleet."""

    log_name = "llmops_twins.aws"

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def faults(self) -> Faults:
        """Returns the faults of the twin."""
        return faults.of(self._twin)

    def fetch(self, whose: Identity, source: ModelDataSource, folder: Path) -> None:
        """Fetches model data from S3."""
        data.fetch(self._twin, source, folder)

    def trouble(self, kind: Trouble, whose: Identity, plan: ContainerPlan, detail: str) -> str:
        """Returns why an instance can't serve, in SageMaker's words where they are known."""
        return {
            "data": f"Failed to download model data: {detail}.",
            "data_late": f"Failed to download model data within ModelDataDownloadTimeoutInSeconds ({detail}).",
            "image": f"The image {plan.image} can't be started: {detail}",
            "not_ready": f"The primary container for production variant {whose.variant} did not pass the ping health "
            "check. Please check CloudWatch logs for this endpoint.",
            "internal": f"Internal failure: {detail}",
        }[kind]

    def put_lines(self, whose: Identity, lines: Sequence[str]) -> None:
        """Writes lines into CloudWatch Logs."""
        from llmops_twins.aws.services.logs import logs

        region, stream = request_metrics.region_of(whose.endpoint_id), log_stream(whose.variant, whose.id)
        logs.put_events(self._twin, region, log_group(whose.endpoint), stream, list(lines), keep=KEPT_LINES)

    def put_counts(self, requests: Sequence[tuple[float, FleetRequest]], loads: Mapping[Load, int]) -> None:
        """Writes counts into CloudWatch's metrics."""
        request_metrics.put(self._twin, requests, loads)

    def wants_idle(self, load: Load) -> bool:
        """Returns whether a scaling policy may read the variant's metrics."""
        return request_metrics.is_scaled(self._twin, load)

    def answers_well(self, status: int) -> bool:
        """Returns whether a status is 200: SageMaker accepts no other."""
        return status == 200


def log_group(endpoint: str) -> str:
    """Returns the log group of an endpoint's containers."""
    return f"/aws/sagemaker/Endpoints/{endpoint}"


def log_stream(variant: str, instance: str) -> str:
    """Returns the name of an instance's log stream, `variant/instance` as on SageMaker."""
    return f"{variant}/{instance}"
