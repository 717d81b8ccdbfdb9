"""The subjects of GitHub's tokens, by which a cloud knows a repository's workflows.

Tokens of repositories that were created, renamed or transferred after 15 July 2026, or that opted in, contain the
immutable ids of owner and repository after their names; those of all others, and of GitHub Enterprise Server, contain
only the names. A free name can be registered by somebody else, an id can't. Subjects are always complete: a pattern for
the ids would trust every repository with these names.

https://docs.github.com/en/actions/reference/security/oidc#immutable-subject-claims
https://learn.microsoft.com/entra/workload-id/workload-identities-github-immutable-subjects
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from llmops_kit.cli.platforms.bootstrap_steps import PROMOTE_ENVIRONMENT
from llmops_kit.core.errors import KitError

_REPOSITORY = re.compile(
    r"(?P<owner>[A-Za-z0-9-]+)(@(?P<owner_id>[1-9][0-9]*))?/(?P<name>[A-Za-z0-9._-]+)(@(?P<id>[1-9][0-9]*))?"
)
_PREFIX = re.compile(r"repo:([^/@:]+)@[0-9]+/([^/@:]+)@[0-9]+:")
_WITHOUT_IDS = (
    "GitHub puts ids into the tokens of repositories that were created, renamed or transferred after 15 July 2026: if "
    "the workflows can't log in, repeat the command with --github OWNER@ID/REPO@ID (docs/how-to/ci.md says how to find "
    "them)"
)


@dataclass(frozen=True)
class GithubRepository:
    """A repository as `--github` names it."""

    path: str
    """OWNER/REPO, which names of roles and identities contain."""
    with_ids: str = ""
    """OWNER@ID/REPO@ID; empty: its ids were not given."""
    by_name: bool = True
    """Whether to trust tokens that contain only the names."""

    @classmethod
    def parse(cls, text: str, by_name: bool) -> "GithubRepository":
        """Returns the repository that `--github` and `--by-name` name.

        Raises:
            KitError: the text is neither OWNER/REPO nor OWNER@ID/REPO@ID.
        """
        found = _REPOSITORY.fullmatch(text)
        if not found or bool(found["owner_id"]) != bool(found["id"]):
            raise KitError(
                f"{text!r} is not a repository",
                where="--github",
                fix="write OWNER/REPO, or OWNER@ID/REPO@ID with the ids of both",
            )
        path = f"{found['owner']}/{found['name']}"
        return cls(path, text, by_name) if found["id"] else cls(path)

    @property
    def note(self) -> str:
        """A hint for a repository whose ids were not given; empty if they were."""
        return "" if self.with_ids else _WITHOUT_IDS

    def subjects(self, allowed: Iterable[str]) -> list[str]:
        """Returns the subjects of the repository's tokens that are trusted in these contexts."""
        paths = [*([self.with_ids] if self.with_ids else []), *([self.path] if self.by_name else [])]
        return [subject_of(path, context) for context in allowed for path in paths]


def subject_of(path: str, context: str) -> str:
    """Returns the subject of a token: `repo:OWNER/REPO:ref:refs/heads/main`, with or without ids."""
    return f"repo:{path}:{context}"


def without_ids(text: str) -> str:
    """Returns a subject as it would be without ids."""
    return _PREFIX.sub(r"repo:\1/\2:", text)


def contexts(branch: str) -> dict[str, dict[str, str]]:
    """Returns the trusted contexts of tokens: preview, deploy, promote -> name of the credential -> context.

    The nightly drift check runs on the branch, and only reads, so `preview` trusts the branch too.
    """
    main = f"ref:refs/heads/{branch}"
    return {
        "preview": {"pull-requests": "pull_request", "branch": main},
        "deploy": {"branch": main},
        "promote": {"environment": f"environment:{PROMOTE_ENVIRONMENT}"},
    }
