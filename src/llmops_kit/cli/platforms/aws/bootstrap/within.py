"""Is a recorded policy the project's? What it allows beyond the deploy role's boundary would be lost, and says that it
was recorded for another project, or written by hand.
"""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from llmops_kit.clouds.aws.policies import Policy
from llmops_kit.core.errors import KitError

INLINE_LIMIT = 10_240
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""
_FIX = (
    "record it again with `llmops plan --policy` in the project's folder; or give none: the default names the project"
)


def require_within(policy: Policy, most: Policy, project: str) -> None:
    """Require that each action of a policy is one of the boundary's, on resources of the boundary.

    Raises:
        KitError: naming the first that is not; or the policy is longer than a role's may be.
    """
    if (size := len(json.dumps(policy, separators=(",", ":")))) > INLINE_LIMIT:
        raise KitError(
            f"has {size} characters, and a role's own policies have {INLINE_LIMIT} together",
            where="--policy",
            fix="give none: the default names the project's resources in fewer words",
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
                        f"{action} on {resource} is not of project {project}, or no part of deploying",
                        where=where,
                        fix=_FIX,
                    )


def _allows(most: Policy, action: str, resource: str) -> bool:
    """Returns whether a policy allows an action on a resource, by name alone: conditions are the boundary's own."""
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
