"""The part of a plan on each endpoint."""

from dataclasses import dataclass, field

UNKNOWN_TYPE = "unknown"
"""Placeholder for an endpoint's instance type that is only known after `up`."""


@dataclass(frozen=True)
class EndpointPlan:
    """An endpoint as it will be after `up`."""

    name: str
    change: str  # create, update, none
    before: str  # version
    after: str
    instance_type: str
    instances: int
    most_instances: int
    least_instances: int
    strategy: str
    at_least_seconds: int
    during_update: int  # instances that run at the same time at most
    host_image: str = ""  # of its machines, if one is asked for (AWS)
    notes: list[str] = field(default_factory=list)


def short(model: str) -> str:
    """Returns a version without its hash: `chatbot@3@sha256:…` -> `chatbot@3`."""
    return model.partition("@sha256")[0]
