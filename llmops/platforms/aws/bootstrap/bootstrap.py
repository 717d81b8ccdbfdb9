"""What an account needs before the first stack: a bucket for state, a key for secrets, roles for GitHub Actions.

Idempotent: what is there is looked at, what differs is changed and named, and nothing is made weaker than it is.
"""

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from clouds.names import ci_path, readable, role_path
from contract.errors import KitError
from llmops.platforms.aws.clients import Clients, error_code, explained
from llmops.platforms.platform import Say
from llmops.platforms.steps import ADMINISTRATOR, Steps

if TYPE_CHECKING:
    from llmops.platforms.aws.bootstrap.given_resources import Given

TAGS = {"llmops:managed-by": "bootstrap"}


@dataclass(frozen=True)
class Names:
    """What bootstrap calls its things; the account and region are in the bucket's name, which is the world's own."""

    project: str
    account: str
    region: str
    partition: str = "aws"

    @property
    def bucket(self) -> str:
        """At most 63 characters, small letters."""
        return shorten(f"{self.project}-state-{self.account}-{self.region}".lower(), 63)

    @property
    def alias(self) -> str:
        """Of the key."""
        return f"alias/{self.project}-state"

    @property
    def prefix(self) -> str:
        """What the names of the project's things begin with, before a dash; some names have no room for all of it."""
        return readable(self.project)[:40].rstrip("-")

    @property
    def job_prefix(self) -> str:
        """The same of training jobs, as the program names them."""
        return readable(self.project)[:17].rstrip("-")

    @property
    def boundary(self) -> str:
        """The managed policy that bounds every role that the project's stacks make."""
        return shorten(f"{self.project}-boundary", 128)

    @property
    def boundary_arn(self) -> str:
        """Its ARN."""
        return self._policy_arn(self.boundary)

    @property
    def deploy_boundary(self) -> str:
        """The managed policy that bounds the deploy role."""
        return shorten(f"{self.project}-deploy-boundary", 128)

    @property
    def deploy_boundary_arn(self) -> str:
        """Its ARN."""
        return self._policy_arn(self.deploy_boundary)

    def _policy_arn(self, name: str) -> str:
        return f"arn:{self.partition}:iam::{self.account}:policy/{name}"

    @property
    def role_path(self) -> str:
        """IAM path of the roles that the project's stacks make."""
        return role_path(self.project)

    @property
    def ci_path(self) -> str:
        """IAM path of the roles that workflows take."""
        return ci_path(self.project)

    def role(self, kind: str, repository: str) -> str:
        """A role for the jobs of a GitHub repository; `kind` is preview, deploy or promote."""
        return shorten(f"{self.project}-{kind}-{repository.replace('/', '-')}", 64)

    def role_arn(self, kind: str, repository: str) -> str:
        """Its ARN."""
        return f"arn:{self.partition}:iam::{self.account}:role{self.ci_path}{self.role(kind, repository)}"

    @property
    def backend(self) -> str:
        """For `pulumi login`."""
        return f"s3://{self.bucket}?region={self.region}"

    @property
    def key(self) -> str:
        """For `--secrets-provider`."""
        return f"awskms://{self.alias}?region={self.region}"


@dataclass(kw_only=True)
class Work(Steps):
    """Where bootstrap works, and what it did."""

    clients: Clients
    names: Names

    def explained(self, what: str) -> AbstractContextManager[None]:
        """See Steps."""
        return explained(what, ADMINISTRATOR)


@dataclass(frozen=True)
class Bootstrapped:
    """What was found and done, and what to write down."""

    rows: list[dict[str, str]]
    names: Names
    roles: dict[str, str]


def bootstrap(
    clients: Clients,
    project: str,
    say: Say,
    *,
    github: str = "",
    branch: str = "main",
    policy: dict[str, Any] | None = None,
    given: "Given | None" = None,
    dry_run: bool = False,
) -> Bootstrapped:
    """Bring an account to what the kit's stacks need of it.

    Args:
        clients: of an administrator of the account.
        project: the Pulumi project's name.
        say: told each step.
        github: `OWNER/REPO` whose workflows get roles: for previews, for `up`, for training and signing; empty: none.
        branch: from which `up` may run.
        policy: what the deploy role may do (`llmops plan --policy`); None: what the program's services need at most.
        given: what the project's stack files name instead of having it made.
        dry_run: only look.

    Raises:
        KitError: something is there that is somebody else's, or would have to be weakened.
    """
    from llmops.platforms.aws.bootstrap.costs import cost_allocation_tag
    from llmops.platforms.aws.bootstrap.github import github_roles
    from llmops.platforms.aws.bootstrap.given_resources import Given
    from llmops.platforms.aws.bootstrap.state import state_bucket, state_key

    caller = clients.caller
    partition = caller.arn.split(":")[1]
    names = Names(project, caller.account, caller.region, partition)
    work = Work(clients=clients, names=names, say=say, dry_run=dry_run)
    with explained("bootstrap", "bootstrap needs an administrator of the account"):
        key = state_key(work)
        state_bucket(work, key)
        cost_allocation_tag(work)
        roles = github_roles(work, github, branch, key, policy, given or Given()) if github else {}
    return Bootstrapped(work.rows, work.names, roles)


def key_url(clients: Clients, project: str) -> str:
    """The secrets provider that bootstrap made for a project.

    Raises:
        KitError: it was not made.
    """
    caller = clients.caller
    names = Names(project, caller.account, caller.region)
    with explained(names.alias):
        try:
            clients("kms").describe_key(KeyId=names.alias)
        except ClientError as e:
            if error_code(e) != "NotFoundException":
                raise
            raise KitError(
                f"there is no key {names.alias} for the secrets of a new stack",
                where=f"account {caller.account}, {caller.region}",
                fix="`llmops bootstrap aws` makes it; `secretsprovider:` in the stack file names another one",
            ) from e
    return names.key


def shorten(name: str, limit: int) -> str:
    """A name of at most so many characters: cut, with a hash of the whole."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 9].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def tags() -> list[dict[str, str]]:
    """As most services take them."""
    return [{"Key": k, "Value": v} for k, v in TAGS.items()]


def same_json(one: object, other: object) -> bool:
    """Are two documents the same, whatever the order of their keys?"""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
