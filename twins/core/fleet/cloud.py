"""What a fleet of containers asks of its cloud, whose words and rules are not the fleet's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from twins.core.faults import Faults
from twins.core.fleet.plan import ContainerPlan, ModelDataSource
from twins.core.twin import BaseTwin as Twin

Load = tuple[str, str, str]
"""Endpoint's id, its name, and variant."""
Trouble = Literal["data", "data_late", "image", "not_ready", "internal"]

__all__ = ["FleetCloud", "FleetRequest", "Identity", "Load", "ModelDataError", "Trouble", "Twin"]


class ModelDataError(Exception):
    """Model data can't be had; the text says which, and why."""


@dataclass(frozen=True)
class Identity:
    """Whose instance it is; `endpoint_id` is the cloud's own, and `group` its name of the group."""

    id: str
    variant: str
    endpoint: str
    endpoint_id: str
    group: str = ""


@dataclass(frozen=True)
class FleetRequest:
    """One answered request; `instances` of its variant were in service. A `status` of 0: the container was lost.

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
    """Words and rules of one cloud. What is called with the twin's lock held, says so."""

    log_name: str
    """Of the logger."""

    def faults(self) -> Faults:
        """The faults of the twin; with the lock."""
        ...

    def fetch(self, whose: Identity, source: ModelDataSource, folder: Path) -> None:
        """Have model data as files in a folder of its own, which nobody writes to.

        Raises:
            ModelDataError: there is none, or it can't be read.
        """
        ...

    def trouble(self, kind: Trouble, whose: Identity, plan: ContainerPlan, detail: str) -> str:
        """Why an instance can't serve: model data can't be had, or takes too long; the image can't be started; the
        container is not ready; something of the twin's own. `detail` says more.
        """
        ...

    def put_lines(self, whose: Identity, lines: Sequence[str]) -> None:
        """Keep what a container wrote; with the lock."""
        ...

    def put_counts(self, requests: Sequence[tuple[float, FleetRequest]], loads: Mapping[Load, int]) -> None:
        """Keep what was counted: requests with the time of their end, and the most requests under way at a time; with
        the lock.
        """
        ...

    def wants_idle(self, load: Load) -> bool:
        """Is a variant without requests told of too? With the lock."""
        ...

    def answers_well(self, status: int) -> bool:
        """Is this status of a probe's answer a good one?"""
        ...
