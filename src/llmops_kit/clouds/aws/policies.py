"""Builds statements of IAM policies, for the program and for bootstrap.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
"""

from collections.abc import Iterable
from typing import Any

Policy = dict[str, Any]
Statement = dict[str, Any]


def owned_by(account: str) -> dict[str, dict[str, str]]:
    """Returns a condition: the resource is the account's. ARNs of S3 name no account, so a pattern of names also
    matches buckets that others create; and the name of a deleted bucket can be taken by others.

    `s3:CreateBucket` doesn't need it: it always creates in the caller's account.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html (aws:ResourceAccount)
    """
    return {"StringEquals": {"aws:ResourceAccount": account}}


def document(statements: Iterable[Statement]) -> Policy:
    """Returns a policy document of statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def policy(*statements: Statement) -> Policy:
    """Returns a policy document of the statements that name actions; a single resource is written without a list."""
    named = [each for each in statements if each.get("Action") or each.get("NotAction")]
    return document({**each, "Resource": _single(each["Resource"])} if "Resource" in each else each for each in named)


def allow(actions: Iterable[str], resources: Any, **conditions: Any) -> Statement:
    """Returns a statement that allows actions on resources, under conditions such as
    `StringEquals={"kms:ViaService": …}`.

    Args:
        actions: such as `s3:GetObject`, or several of a service: `kms: Decrypt Encrypt`.
        resources: an ARN, or a list of them.
        conditions: by operator.
    """
    return _statement("Allow", "Action", actions, resources, conditions)


def deny(actions: Iterable[str], resources: Any, **conditions: Any) -> Statement:
    """Returns a statement that denies actions on resources; arguments are those of `allow`."""
    return _statement("Deny", "Action", actions, resources, conditions)


def deny_all_but(actions: Iterable[str], resources: Any) -> Statement:
    """Returns a statement that denies all actions except these."""
    return _statement("Deny", "NotAction", actions, resources, {})


def grant(principal: dict[str, Any] | str, actions: Iterable[str], resources: Any, **conditions: Any) -> Statement:
    """Returns a statement of a resource policy that allows a principal to do actions."""
    return allow(actions, resources, **conditions) | {"Principal": principal}


def tls_only(action: str, resources: Any) -> Statement:
    """Returns a statement of a resource policy that denies requests without TLS to everybody."""
    statement = deny([action], resources, Bool={"aws:SecureTransport": "false"}) | {"Sid": "TlsOnly", "Principal": "*"}
    # Last, as in released versions: otherwise every stack shows a change.
    return statement | {"Resource": statement.pop("Resource")}


def _single(resources: Any) -> Any:
    return resources[0] if isinstance(resources, list) and len(resources) == 1 else resources


def _statement(effect: str, key: str, actions: Iterable[str], resources: Any, conditions: dict[str, Any]) -> Statement:
    listed = [
        f"{service}:{verb}" for service, _, verbs in (a.partition(":") for a in actions) for verb in verbs.split()
    ]
    conditioned = {"Condition": conditions} if conditions else {}
    return {"Effect": effect, key: listed, **conditioned, "Resource": resources}
