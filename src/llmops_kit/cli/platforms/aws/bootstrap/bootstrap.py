"""Prepares an account for the first stack: a bucket for state, a key for secrets, roles for GitHub Actions.

Idempotent: changes only what differs, names each change, and weakens nothing.
"""

from dataclasses import dataclass
from typing import Any

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.platforms.aws.bootstrap.costs import cost_allocation_tag
from llmops_kit.cli.platforms.aws.bootstrap.github import github_roles
from llmops_kit.cli.platforms.aws.bootstrap.given_resources import Given
from llmops_kit.cli.platforms.aws.bootstrap.names import AwsNames
from llmops_kit.cli.platforms.aws.bootstrap.state import state_bucket, state_key
from llmops_kit.cli.platforms.aws.bootstrap.steps import AwsSteps
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.github import GithubRepository
from llmops_kit.clouds.aws.errors import explained, find
from llmops_kit.core.errors import KitError


@dataclass(frozen=True)
class Bootstrapped:
    """Result of bootstrap."""

    rows: list[dict[str, str]]
    names: AwsNames
    roles: dict[str, str]


def bootstrap(
    clients: AwsClients,
    project: str,
    say: Say,
    *,
    github: str = "",
    by_name: bool = False,
    branch: str = "main",
    policy: dict[str, Any] | None = None,
    given: Given | None = None,
    dry_run: bool = False,
) -> Bootstrapped:
    """Prepares an account for the kit's stacks.

    Args:
        clients: of an administrator of the account.
        project: the Pulumi project's name.
        say: called with a line for each step.
        github: `OWNER/REPO` or `OWNER@ID/REPO@ID` whose workflows get roles: for previews, for `up`, for training and
            signing; empty: none.
        by_name: in addition to tokens with ids, trust those with names only.
        branch: from which `up` may run.
        policy: of the deploy role (`llmops plan --policy`); None: the maximum that the program's services need.
        given: existing resources that the project's stack files name.
        dry_run: change nothing.

    Raises:
        KitError: a resource belongs to somebody else, or would have to be weakened; or `github` is not a repository.
    """
    repository = GithubRepository.parse(github, by_name) if github else None
    caller = clients.caller
    names = AwsNames(project, caller.account, caller.region, caller.partition)
    work = AwsSteps(clients=clients, names=names, say=say, dry_run=dry_run)
    with explained("bootstrap", "bootstrap needs an administrator of the account"):
        key = state_key(work)
        state_bucket(work, key)
        cost_allocation_tag(work)
        roles = github_roles(work, repository, branch, key, policy, given or Given()) if repository else {}
    return Bootstrapped(work.rows, work.names, roles)


def key_url(clients: AwsClients, project: str) -> str:
    """Returns the secrets provider that bootstrap created for a project.

    Raises:
        KitError: it does not exist.
    """
    caller = clients.caller
    names = AwsNames(project, caller.account, caller.region)
    with explained(names.alias):
        if find(clients("kms").describe_key, KeyId=names.alias) is None:
            raise KitError(
                f"there is no key {names.alias} for the secrets of a new stack",
                where=f"account {caller.account}, {caller.region}",
                fix="`llmops bootstrap aws` creates it; or name another one in `secretsprovider:` of the stack file",
            )
    return names.key
