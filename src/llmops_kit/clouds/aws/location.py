"""The account and region of a stack on AWS, and the identity of this process there: plain values."""

from typing import Any, NamedTuple

from llmops_kit.clouds.aws.names import dns_suffix
from llmops_kit.core.twins import TWIN_ACCOUNT


class AwsLocation(NamedTuple):
    """Account, region and profile of a stack; no secrets. Every dynamic resource stores it."""

    account: str
    region: str
    profile: str = ""

    @classmethod
    def of(cls, props: dict[str, Any]) -> "AwsLocation":
        """Reads the location from a dynamic resource's properties."""
        return cls(props["account"], props["region"], props["profile"])

    @property
    def twin(self) -> bool:
        """Whether the account id is the one that every AWS twin has."""
        return self.account == TWIN_ACCOUNT


class AwsCaller(NamedTuple):
    """The identity of this process on AWS."""

    account: str
    arn: str
    region: str
    twin: str  # the twin's URL; empty on AWS

    @property
    def partition(self) -> str:
        """The partition, such as `aws` or `aws-cn`."""
        return self.arn.split(":")[1]

    @property
    def runtime_url(self) -> str:
        """Base URL of the region's endpoints for inference."""
        return self.twin.rstrip("/") or f"https://runtime.sagemaker.{self.region}.{dns_suffix(self.partition)}"
