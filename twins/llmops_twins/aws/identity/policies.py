"""Checks that every service makes of a policy: its syntax, and the existence of its principals."""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from llmops_twins.aws.twin import AccountTwin

Statement = dict[str, Any]


def statements(text: str) -> list[Statement]:
    """Returns a policy's statements, in order.

    Raises:
        ValueError: the text is not a policy: it is not a JSON object, or lacks statements, or a statement lacks effect
            or action.
    """
    document = json.loads(text)
    if not isinstance(document, dict) or "Statement" not in document:
        raise ValueError("a policy is an object with a Statement")
    found = document["Statement"]
    found = found if isinstance(found, list) else [found]
    if not found:
        raise ValueError("a policy has a statement")
    for statement in found:
        if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
            raise ValueError("a statement is an object with an Effect, Allow or Deny")
        if "Action" not in statement and "NotAction" not in statement:
            raise ValueError("a statement has an Action")
    return found


def resource_statements(text: str) -> list[Statement]:
    """Returns the statements of a resource's or role's policy, each of which must name a principal.

    Raises:
        ValueError: as for `statements`, or a statement has no principal.
    """
    found = statements(text)
    for statement in found:
        principal = statement.get("Principal", statement.get("NotPrincipal"))
        if not principal or not (isinstance(principal, dict) or principal == "*"):
            raise ValueError("a statement has a Principal")
    return found


def principals(statement: Statement, kind: str) -> list[str]:
    """Returns a statement's principals of one kind: AWS, Service, Federated."""
    principal = statement.get("Principal", {})
    if principal == "*":
        return ["*"] if kind == "AWS" else []
    named = principal.get(kind, []) if isinstance(principal, dict) else []
    return [named] if isinstance(named, str) else list(named)


def missing_principals(twin: AccountTwin, found: list[Statement]) -> Iterator[str]:
    """Yields roles and users of this account that a policy names and that don't exist."""
    from moto.iam.models import iam_backends

    iam = iam_backends[twin.account]["aws"]
    known = {role.arn for role in iam.roles.values()} | {user.arn for user in iam.users.values()}
    own = f"arn:aws:iam::{twin.account}:"
    for statement in found:
        for name in principals(statement, "AWS"):
            if name.startswith((f"{own}role/", f"{own}user/")) and name not in known:
                yield name


def allows(statement: Statement, action: str) -> bool:
    """Returns whether a statement allows an action, regardless of conditions and resources."""
    named = statement.get("Action", [])
    named = [named] if isinstance(named, str) else named
    return statement["Effect"] == "Allow" and any(fnmatchcase(action.lower(), name.lower()) for name in named)


def is_public(found: list[Statement]) -> bool:
    """Returns whether S3's Block Public Access treats a policy as public."""
    return any(
        statement["Effect"] == "Allow" and "*" in principals(statement, "AWS") and not statement.get("Condition")
        for statement in found
    )
