"""ARNs of a project's resources for bootstrap's policies: by name where names identify them, by tag elsewhere."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from llmops_kit.cli.platforms.aws.bootstrap.given_resources import Given
from llmops_kit.cli.platforms.aws.bootstrap.names import AwsNames
from llmops_kit.clouds.aws.policies import owned_by

TAG = "aws:ResourceTag/llmops:project"
REQUESTED = "aws:RequestTag/llmops:project"


@dataclass(frozen=True)
class Reach:
    """Resources of a project, its own and given ones.

    Args:
        names: of the account.
        key: ARN of the key of the states and their secrets.
        given: existing resources that the project's stack files name.
        region: `*`: in any region, which is shorter; empty: that of the names.
    """

    names: AwsNames
    key: str
    given: Given = field(default_factory=Given)
    region: str = ""

    def arn(self, service: str, *resources: str, region: bool = True) -> list[str]:
        """Returns ARNs in the account; those of IAM and budgets have no region."""
        names = self.names
        place = f"{(self.region or names.region) if region else ''}:{names.account}"
        return [f"arn:{names.partition}:{service}:{place}:{resource}" for resource in resources]

    def named(self, service: str, *kinds: str, region: bool = True) -> list[str]:
        """Returns patterns of ARNs whose names begin with the project's; a kind is the part before the name."""
        return self.arn(service, *(f"{kind}{self.names.prefix}-*" for kind in kinds), region=region)

    @property
    def state(self) -> list[str]:
        """ARNs of the bucket that keeps the stacks' states, and of its objects."""
        bucket = f"arn:{self.names.partition}:s3:::{self.names.bucket}"
        return [bucket, f"{bucket}/*"]

    def buckets(self, *keys: str) -> list[str]:
        """Returns the ARNs of the project's buckets and all of their objects, or only of the objects below `keys`."""
        base = f"arn:{self.names.partition}:s3:::"
        buckets = [f"{self.names.prefix}-*", *self.given.buckets]
        if keys:
            return [f"{base}{bucket}/{key}" for bucket in buckets for key in keys]
        whole = [each for bucket in self.given.buckets for each in (bucket, f"{bucket}/*")]
        return [f"{base}{each}" for each in (f"{self.names.prefix}-*", *whole)]

    @property
    def own(self) -> dict[str, dict[str, str]]:
        """Condition of statements on buckets: the bucket is the account's."""
        return owned_by(self.names.account)

    @property
    def keys(self) -> list[str]:
        """ARN pattern of all keys of the account; their tag identifies the project's."""
        return self.arn("kms", "key/*")

    @property
    def roles(self) -> list[str]:
        """ARN pattern of the roles that the project's stacks create."""
        return self.arn("iam", f"role{self.names.role_path}*", region=False)

    @property
    def repositories(self) -> list[str]:
        """ARNs of the project's ECR repositories, and of those that a stack file names."""
        return [*self.named("ecr", "repository/"), *self.given.repositories]

    @property
    def pulled(self) -> list[str]:
        """ARNs of other repositories, in any account, whose images stack files name."""
        named, own = self.given.pulled, self.repositories
        return [arn for arn in named if not any(fnmatchcase(arn, pattern) for pattern in own)]

    @property
    def jobs(self) -> list[str]:
        """ARN pattern of training jobs, whose names contain a truncated project name."""
        return self.arn("sagemaker", f"training-job/{self.names.job_prefix}-*")

    @property
    def ours(self) -> dict[str, str]:
        """Condition: the resource has the project's tag."""
        return {TAG: self.names.project}
