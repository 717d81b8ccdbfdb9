"""What an endpoint's containers should be: what the services write into its document, and the fleet reads."""

from typing import Any

from pydantic import Field

from contract.documents import Part
from hosting.spec import EndpointSpec

MODEL = "/opt/ml/model"


class DataSource(Part):
    """Model data in S3 (an object, or all below a prefix), and where the container finds it. Archives are unpacked."""

    uri: str
    archive: bool = False
    path: str = MODEL


class ContainerPlan(Part):
    """A container. `image` is what was asked for, `reference` is hosting's name of it. Times in real seconds."""

    image: str
    reference: str
    environ: dict[str, str] = Field(default={})
    data: list[DataSource] = Field(default=[])
    download_seconds: float = 3600.0
    start_seconds: float = 240.0

    def spec(self, folders: dict[str, str], command: list[str] | None = None) -> EndpointSpec:
        """How hosting starts it with its data in these folders; `command` replaces what the image starts."""
        arguments = [] if command else ["serve"]
        return EndpointSpec(
            name="endpoint",
            image=self.reference,
            command=command or [],
            arguments=arguments,
            folders=folders,
            environ=self.environ,
        )


class VariantPlan(Part):
    """A variant of a group: its weight among the group's variants and the ids of its instances."""

    name: str
    weight: float
    instances: list[str]
    container: ContainerPlan


class GroupPlan(Part):
    """The instances of one configuration, and the share of the endpoint's requests that they take."""

    id: str
    share: float
    variants: list[VariantPlan]


class EndpointPlan(Part):
    """All containers of an endpoint: one group, or two while it is updated."""

    arn: str
    name: str
    groups: list[GroupPlan]

    @classmethod
    def of(cls, endpoint: dict[str, Any]) -> "EndpointPlan":
        """The plan in an endpoint's document."""
        groups = [GroupPlan.model_validate(group) for group in endpoint.get("groups", [])]
        return cls(arn=endpoint["EndpointArn"], name=endpoint["EndpointName"], groups=groups)

    @property
    def region(self) -> str:
        """Where the endpoint is."""
        return self.arn.split(":")[3]
