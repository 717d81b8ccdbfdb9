"""Names and ARNs of the resources that bootstrap creates."""

import hashlib
from dataclasses import dataclass

from llmops_kit.clouds.account_names import readable
from llmops_kit.clouds.aws.names import ci_path, role_path


@dataclass(frozen=True)
class AwsNames:
    """Names in an account. Bucket names are globally unique, so they contain account and region."""

    project: str
    account: str
    region: str
    partition: str = "aws"

    @property
    def bucket(self) -> str:
        """Name of the state bucket: at most 63 characters, in lower case."""
        return shorten(f"{self.project}-state-{self.account}-{self.region}".lower(), 63)

    @property
    def alias(self) -> str:
        """Alias of the KMS key of the states' secrets, `alias/…`."""
        return f"alias/{self.project}-state"

    @property
    def prefix(self) -> str:
        """Prefix of the names of the project's resources, before a dash; truncated, since some names have length
        limits.
        """
        return readable(self.project)[:40].rstrip("-")

    @property
    def job_prefix(self) -> str:
        """The same for training jobs, as the program names them."""
        return readable(self.project)[:17].rstrip("-")

    @property
    def boundary(self) -> str:
        """Name of the managed policy that bounds every role that the project's stacks create."""
        return shorten(f"{self.project}-boundary", 128)

    @property
    def boundary_arn(self) -> str:
        """ARN of the policy `boundary`."""
        return self._policy_arn(self.boundary)

    @property
    def deploy_boundary(self) -> str:
        """Name of the managed policy that bounds the deploy role."""
        return shorten(f"{self.project}-deploy-boundary", 128)

    @property
    def deploy_boundary_arn(self) -> str:
        """ARN of the policy `deploy_boundary`."""
        return self._policy_arn(self.deploy_boundary)

    def _policy_arn(self, name: str) -> str:
        return f"arn:{self.partition}:iam::{self.account}:policy/{name}"

    @property
    def role_path(self) -> str:
        """IAM path of the roles that the project's stacks create."""
        return role_path(self.project)

    @property
    def ci_path(self) -> str:
        """IAM path of the roles that workflows assume."""
        return ci_path(self.project)

    def role(self, kind: str, repository: str) -> str:
        """Returns the name of a role for the jobs of a GitHub repository; `kind` is preview, deploy or promote."""
        return shorten(f"{self.project}-{kind}-{repository.replace('/', '-')}", 64)

    def role_arn(self, kind: str, repository: str) -> str:
        """Returns the ARN of `role(kind, repository)`."""
        return f"arn:{self.partition}:iam::{self.account}:role{self.ci_path}{self.role(kind, repository)}"

    @property
    def backend(self) -> str:
        """URL for `pulumi login`."""
        return f"s3://{self.bucket}?region={self.region}"

    @property
    def key(self) -> str:
        """URL for `--secrets-provider`."""
        return f"awskms://{self.alias}?region={self.region}"


def shorten(name: str, limit: int) -> str:
    """Returns a name of at most `limit` characters: a longer one is cut, with a hash of the whole."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 9].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
