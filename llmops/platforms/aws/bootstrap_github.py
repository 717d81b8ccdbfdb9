"""Roles for GitHub Actions, which has no key of the account: GitHub's token says which repository asks.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html
"""

import json
import re
from typing import Any

from botocore.exceptions import ClientError

from contract.errors import KitError
from llmops.platforms.aws.bootstrap import Work, same_json, tags
from llmops.platforms.aws.bootstrap_policies import (
    GITHUB,
    Policy,
    boundary,
    deploy_policy,
    preview_policy,
    provider_arn,
    trust,
)
from llmops.platforms.aws.clients import error_code

_INLINE = "llmops"
_AUDIENCE = "sts.amazonaws.com"


def github_roles(work: Work, repository: str, branch: str, key: str, policy: Policy | None) -> dict[str, str]:
    """The OIDC provider, the boundary and the two roles.

    Returns:
        preview and deploy -> ARN of the role.

    Raises:
        KitError: `repository` is no OWNER/REPO; or a role is there with another boundary.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+", repository):
        raise KitError(f"{repository!r} is no repository", where="--github", fix="write OWNER/REPO")
    names = work.names
    _provider(work)
    _boundary(work)
    key = key or f"arn:{names.partition}:kms:{names.region}:{names.account}:key/*"
    main = f"repo:{repository}:ref:refs/heads/{branch}"
    # What runs nightly, to find drift, is a workflow of the branch, and only reads.
    subjects = {"preview": [f"repo:{repository}:pull_request", main], "deploy": [main]}
    policies = {"preview": preview_policy(names, key), "deploy": policy or deploy_policy(names, key)}
    for kind, allowed in subjects.items():
        _role(work, names.role(kind, repository), trust(names, allowed), policies[kind], bounded=kind == "deploy")
    return {k: f"arn:{names.partition}:iam::{names.account}:role/{names.role(k, repository)}" for k in subjects}


def _provider(work: Work) -> None:
    iam, arn = work.clients("iam"), provider_arn(work.names)
    what = f"OIDC provider {GITHUB}"
    there = {p["Arn"] for p in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]}
    if arn not in there:
        work.make(
            what,
            lambda: iam.create_open_id_connect_provider(Url=f"https://{GITHUB}", ClientIDList=[_AUDIENCE], Tags=tags()),
        )
    elif _AUDIENCE not in iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"]:
        work.change(
            what,
            f"audience {_AUDIENCE} added",
            lambda: iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID=_AUDIENCE),
        )
    else:
        work.there(what)


def _boundary(work: Work) -> None:
    iam, arn, wanted = work.clients("iam"), work.names.boundary_arn, boundary(work.names)
    what = f"boundary {work.names.boundary}"
    try:
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    except ClientError as e:
        if error_code(e) != "NoSuchEntity":
            raise
        work.make(
            what,
            lambda: iam.create_policy(PolicyName=work.names.boundary, PolicyDocument=json.dumps(wanted), Tags=tags()),
        )
        return
    found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    if same_json(found, wanted):
        work.there(what)
    elif missing := [s for s in found["Statement"] if s["Effect"] == "Deny" and s not in wanted["Statement"]]:
        work.keep(what, f"it denies more than this version of the kit does ({len(missing)} statements)")
    else:
        work.change(what, "a new version of it", lambda: _new_version(iam, arn, wanted))


def _new_version(iam: Any, arn: str, document: Policy) -> None:
    """A managed policy has at most five versions: the oldest goes."""
    old = [v for v in iam.list_policy_versions(PolicyArn=arn)["Versions"] if not v["IsDefaultVersion"]]
    if len(old) >= 4:
        iam.delete_policy_version(PolicyArn=arn, VersionId=min(old, key=lambda v: int(v["VersionId"][1:]))["VersionId"])
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(document), SetAsDefault=True)


def _role(work: Work, name: str, trusted: Policy, policy: Policy, *, bounded: bool) -> None:
    iam, what = work.clients("iam"), f"role {name}"
    limit = {"PermissionsBoundary": work.names.boundary_arn} if bounded else {}
    try:
        role = iam.get_role(RoleName=name)["Role"]
    except ClientError as e:
        if error_code(e) != "NoSuchEntity":
            raise
        work.make(what, lambda: _make_role(iam, name, trusted, policy, limit))
        return
    changes = len(work.rows)
    if bounded:
        _bound(work, name, role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ""))
    _trust(work, name, role["AssumeRolePolicyDocument"], trusted)
    _inline(work, name, policy)
    if len(work.rows) == changes:
        work.there(what)


def _make_role(iam: Any, name: str, trusted: Policy, policy: Policy, limit: dict[str, str]) -> None:
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trusted), Tags=tags(), **limit)
    iam.put_role_policy(RoleName=name, PolicyName=_INLINE, PolicyDocument=json.dumps(policy))


def _bound(work: Work, name: str, found: str) -> None:
    wanted = work.names.boundary_arn
    if found and found != wanted:
        raise KitError(
            "the role has another permissions boundary, which is not taken away",
            where=f"{name}: {found}",
            fix=f"put {wanted} on it by hand if that is meant, then repeat the command",
        )
    if not found:
        work.change(
            f"role {name}: boundary",
            "none -> " + work.names.boundary,
            lambda: work.clients("iam").put_role_permissions_boundary(RoleName=name, PermissionsBoundary=wanted),
        )


def _trust(work: Work, name: str, found: Policy, wanted: Policy) -> None:
    if same_json(found, wanted):
        return
    if _is_stricter(found, wanted):
        work.keep(f"role {name}: trust", "it asks for more than the kit does")
        return
    work.change(
        f"role {name}: trust",
        "who may take it -> this repository's workflows alone",
        lambda: work.clients("iam").update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(wanted)),
    )


def _is_stricter(found: Policy, wanted: Policy) -> bool:
    """One statement, ours, with conditions added to ours."""
    statements, ours = found.get("Statement", []), wanted["Statement"][0]
    if len(statements) != 1 or any(statements[0].get(k) != ours[k] for k in ("Effect", "Principal", "Action")):
        return False
    conditions = statements[0].get("Condition", {})
    return all(
        conditions.get(operator, {}).get(key) == value
        for operator, pairs in ours["Condition"].items()
        for key, value in pairs.items()
    )


def _inline(work: Work, name: str, wanted: Policy) -> None:
    iam = work.clients("iam")
    try:
        found = iam.get_role_policy(RoleName=name, PolicyName=_INLINE)["PolicyDocument"]
    except ClientError as e:
        if error_code(e) != "NoSuchEntity":
            raise
        found = None
    if not same_json(found, wanted):
        work.change(
            f"role {name}: what it may do",
            "written anew" if found else "written",
            lambda: iam.put_role_policy(RoleName=name, PolicyName=_INLINE, PolicyDocument=json.dumps(wanted)),
        )
