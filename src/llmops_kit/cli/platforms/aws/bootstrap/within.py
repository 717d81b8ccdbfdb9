"""Checks that a recorded policy is the project's. Permissions beyond the deploy role's boundary would have no effect,
and mean that it was recorded for another project, or written by hand.
"""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from llmops_kit.clouds.aws.policies import Policy
from llmops_kit.core.errors import KitError

INLINE_LIMIT = 10_240
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""
_FIX = "record it again with `llmops plan --policy` in the project's folder; or omit it: the default is the project's"


def require_within(policy: Policy, most: Policy, project: str) -> None:
    """Checks that the boundary allows each action of a policy on its resources.

    Raises:
        KitError: it does not; names the first. Or the policy is longer than a role's may be.
    """
    if (size := len(json.dumps(policy, separators=(",", ":")))) > INLINE_LIMIT:
        raise KitError(
            f"has {size} characters, but a role's inline policies have at most {INLINE_LIMIT} together",
            where="--policy",
            fix="omit it: the default policy is shorter",
        )
    for number, statement in enumerate(policy["Statement"]):
        if statement.get("Effect") != "Allow":
            continue
        where = f"--policy, statement {number + 1}"
        if "NotAction" in statement or "NotResource" in statement:
            raise KitError("allows all but something, which can't be compared", where=where, fix=_FIX)
        for action in _listed(statement["Action"]):
            for resource in _listed(statement["Resource"]):
                if not _allows(most, action, resource):
                    raise KitError(
                        f"{action} on {resource} is not of project {project}, or not needed to deploy",
                        where=where,
                        fix=_FIX,
                    )


def _allows(most: Policy, action: str, resource: str) -> bool:
    """Returns whether a policy allows an action on a resource, by name only: conditions are the boundary's own."""
    return any(
        fnmatchcase(resource, _pattern(wide))
        for statement in most["Statement"]
        if statement["Effect"] == "Allow" and _matches(statement["Action"], action)
        for wide in _listed(statement["Resource"])
    )


def _matches(patterns: Any, action: str) -> bool:
    return any(fnmatchcase(action.lower(), _pattern(each.lower())) for each in _listed(patterns))


def _pattern(text: str) -> str:
    """Escapes `[` for fnmatch: IAM's patterns have `*` and `?` only."""
    return text.replace("[", "[[]")


def _listed(value: str | list[str]) -> Iterator[str]:
    yield from [value] if isinstance(value, str) else value
