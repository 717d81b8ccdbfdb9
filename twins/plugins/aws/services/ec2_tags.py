"""EC2's tags: given as specifications when something is made, told with it when it is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twins.plugins.aws.calls import Work
from twins.plugins.aws.tags import Tagging

if TYPE_CHECKING:
    from twins.plugins.aws.kinds import Kind


@dataclass(frozen=True)
class Ec2Tags(Tagging):
    """`resource` is what EC2 calls the type in tag specifications; empty where tags are a second call."""

    resource: str = ""

    @classmethod
    def of(cls, resource: str) -> "Ec2Tags":
        """The tags of a type."""
        return cls("CreateTags", "DeleteTags", "", {"Resources": ["{id}"]}, resource=resource)

    def in_create(self, work: Work, kind: "Kind") -> bool:
        return bool(self.resource)

    def for_create(self, work: Work, kind: "Kind", tags: Mapping[str, str]) -> dict[str, Any]:
        if not self.resource:
            return {}
        pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
        return {"TagSpecifications": [{"ResourceType": self.resource, "Tags": pairs}]}
