"""The interface between a fleet of containers and its cloud, which has its own rules and messages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from llmops_twins.core.faults import Faults
from llmops_twins.core.fleet.plan import ContainerPlan, ModelDataSource
from llmops_twins.core.twin import BaseTwin as Twin

Load = tuple[str, str, str]
"""(Endpoint's id, its name, variant)."""
Trouble = Literal["data", "data_late", "image", "not_ready", "internal"]

__all__ = ["FleetCloud", "FleetRequest", "Identity", "Load", "ModelDataError", "Trouble", "Twin"]


class ModelDataError(Exception):
    """Error for model data that can't be fetched; the text names the data and the reason."""


@dataclass(frozen=True)
class Identity:
    """The owner of an instance. `endpoint_id` and `group` are the cloud's own names."""

    id: str
    variant: str
    endpoint: str
    endpoint_id: str
    group: str = ""


@dataclass(frozen=True)
class FleetRequest:
    """An answered request; `instances` of its variant were in service. A `status` of 0 means that the container was
    lost.

    `model_seconds` passed from the question to the end of the container's answer, `overhead_seconds` before that.
    """

    endpoint_id: str
    endpoint: str
    variant: str
    status: int
    instances: int
    model_seconds: float
    overhead_seconds: float
    first_byte_seconds: float | None
    group: str = ""


class FleetCloud(Protocol):
    """Rules and messages of one cloud. Docstrings name the methods that are called with the twin's lock held."""

    log_name: str
    """Name of the logger."""

    def faults(self) -> Faults:
        """Returns the faults of the twin; with the lock."""
        ...

    def fetch(self, whose: Identity, source: ModelDataSource, folder: Path) -> None:
        """Fetches model data as files into its own folder, which is never written to afterwards.

        Raises:
            ModelDataError: the data does not exist, or can't be read.
        """
        ...

    def trouble(self, kind: Trouble, whose: Identity, plan: ContainerPlan, detail: str) -> str:
        """Returns the cloud's message for an instance that can't serve: model data can't be fetched or takes too long;
        the image can't be started; the container is not ready; an internal error. `detail` gives details.
        """
        ...

    def put_lines(self, whose: Identity, lines: Sequence[str]) -> None:
        """Stores lines that a container wrote; with the lock."""
        ...

    def put_counts(self, requests: Sequence[tuple[float, FleetRequest]], loads: Mapping[Load, int]) -> None:
        """Stores counts: requests with the time of their end, and the highest number of concurrent requests; with the
        lock.
        """
        ...

    def wants_idle(self, load: Load) -> bool:
        """Returns whether variants without requests are reported too; with the lock."""
        ...

    def answers_well(self, status: int) -> bool:
        """Returns whether a probe's response status is a success."""
        ...
