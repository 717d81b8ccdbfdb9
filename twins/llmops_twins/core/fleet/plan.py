"""Plans of an endpoint's containers, written by a twin and carried out by the fleet."""

from typing import Any

from pydantic import Field

from llmops_kit.core.document import Part
from llmops_kit.local_runtime.spec import EndpointSpec


class ModelDataSource(Part):
    """Model data at a URI of the cloud's storage, and its path in the container. Archives are unpacked."""

    uri: str
    archive: bool = False
    path: str


class Probe(Part):
    """A health check that a container must answer with 200 (on Azure: below 400). Times in real seconds."""

    path: str
    timeout: float = 2.0
    every: float = 5.0
    failures: int = 3
    """Consecutive failures after which the check counts as failed."""


class ContainerPlan(Part):
    """A container. `image` is the requested name, `reference` the local runtime's. Times in real seconds.

    `arguments` are appended to the image's command. `ready` must succeed before and while it takes requests; a
    container that fails `live` is restarted. `start_seconds` limits the time until it is first ready.
    """

    image: str
    reference: str
    environ: dict[str, str] = Field(default={})
    arguments: list[str] = Field(default=[])
    data: list[ModelDataSource] = Field(default=[])
    download_seconds: float = 3600.0
    start_seconds: float = 240.0
    ready: Probe
    live: Probe | None = None
    port: int = 8080
    """Port on which the image listens inside Docker."""

    def spec(self, folders: dict[str, str], command: list[str] | None = None) -> EndpointSpec:
        """Returns the local runtime's specification, with the data in these folders; `command` replaces the image's."""
        return EndpointSpec(
            name="endpoint",
            image=self.reference,
            command=command or [],
            arguments=[] if command else self.arguments,
            folders=folders,
            environ=self.environ,
            container_port=self.port,
        )


class VariantPlan(Part):
    """A variant of a group (on Azure: a deployment): its weight among the others and the ids of its instances."""

    name: str
    weight: float
    instances: list[str]
    container: ContainerPlan


class GroupPlan(Part):
    """Variants that share a part of the endpoint's requests."""

    id: str
    name: str = Field(default="", description="The cloud's name of the group; on AWS, of the endpoint's configuration.")
    share: float
    variants: list[VariantPlan]


class FleetPlan(Part):
    """All containers of an endpoint; `id` is the cloud's own."""

    id: str
    name: str
    groups: list[GroupPlan]

    @classmethod
    def of(cls, id: str, name: str, groups: list[dict[str, Any]]) -> "FleetPlan":  # noqa: A002
        """Returns the plan with groups in a twin's state."""
        return cls(id=id, name=name, groups=[GroupPlan.model_validate(group) for group in groups])
