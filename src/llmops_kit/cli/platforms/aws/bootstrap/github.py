"""Roles for GitHub Actions, without stored keys: GitHub's token names the repository.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html
"""

import json
from copy import deepcopy
from typing import Any

from llmops_kit.cli.platforms.aws.bootstrap.boundary import boundary
from llmops_kit.cli.platforms.aws.bootstrap.deploy import deploy_boundary, deploy_policy
from llmops_kit.cli.platforms.aws.bootstrap.given_resources import Given
from llmops_kit.cli.platforms.aws.bootstrap.managed_policies import ensure_boundary
from llmops_kit.cli.platforms.aws.bootstrap.policies import GITHUB, preview_policy, promote_policy, provider_arn, trust
from llmops_kit.cli.platforms.aws.bootstrap.reach import Reach
from llmops_kit.cli.platforms.aws.bootstrap.steps import TAGS, AwsSteps, same_json, tags
from llmops_kit.cli.platforms.aws.bootstrap.within import require_within
from llmops_kit.cli.platforms.github import GithubRepository, contexts, without_ids
from llmops_kit.clouds.account_names import readable
from llmops_kit.clouds.aws.errors import find
from llmops_kit.clouds.aws.policies import Policy
from llmops_kit.core.errors import KitError

_INLINE = "llmops"
_AUDIENCE = "sts.amazonaws.com"
_SUBJECT = f"{GITHUB}:sub"
_SECONDS = 7200  # updates of endpoints take long; docs/how-to/github/deploy.yml requests the same duration


def github_roles(
    work: AwsSteps, repository: GithubRepository, branch: str, key: str, policy: Policy | None, given: Given
) -> dict[str, str]:
    """Creates the OIDC provider, the boundaries and the three roles.

    Returns:
        preview, deploy and promote -> ARN of the role.

    Raises:
        KitError: `policy` reaches beyond the project; or a role is there with another boundary.
    """
    names = work.names
    reach = Reach(names, key or f"arn:{names.partition}:kms:{names.region}:{names.account}:key/*", given)
    most = deploy_boundary(reach)
    if policy:
        require_within(policy, most, names.project)
    _require_distinct(work)
    _provider(work)
    ensure_boundary(work, names.boundary, boundary(reach))
    ensure_boundary(work, names.deploy_boundary, most)
    policies = {
        "preview": preview_policy(reach),
        "deploy": policy or deploy_policy(reach),
        "promote": promote_policy(reach),
    }
    for kind, allowed in contexts(branch).items():
        trusted = trust(names, repository.subjects(allowed.values()))
        _role(work, kind, names.role(kind, repository.path), trusted, policies[kind])
    if repository.note:
        work.say(repository.note)
    return {kind: names.role_arn(kind, repository.path) for kind in policies}


def _require_distinct(work: AwsSteps) -> None:
    """Requires that policies by name separate this project from others: `llmops-*` also matches `llmops-prod`'s
    resources.

    Raises:
        KitError: a project that was bootstrapped in the account has a name that begins with this one's, or the reverse.
    """
    ours = work.names.prefix
    for page in work.clients("iam").get_paginator("list_roles").paginate(PathPrefix="/llmops-ci/"):
        for other in {role["Path"].split("/")[2] for role in page["Roles"]} - {work.names.project}:
            theirs = readable(other)
            if f"{theirs}-".startswith(f"{ours}-") or f"{ours}-".startswith(f"{theirs}-"):
                raise KitError(
                    f"project {other} is in this account too, and policies by name can't tell the two apart: the name "
                    "of one begins with the other's",
                    where=f"project {work.names.project}, account {work.names.account}",
                    fix="rename one of them (`name:` in Pulumi.yaml), or give it its own account",
                )


def _provider(work: AwsSteps) -> None:
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


def _role(work: AwsSteps, kind: str, name: str, trusted: Policy, policy: Policy) -> None:
    iam, what, path = work.clients("iam"), f"role {name}", work.names.ci_path
    bounded = kind == "deploy"
    limit = {"PermissionsBoundary": work.names.deploy_boundary_arn} if bounded else {}

    def make() -> None:
        iam.create_role(
            RoleName=name,
            Path=path,
            AssumeRolePolicyDocument=json.dumps(trusted),
            MaxSessionDuration=_SECONDS,
            Tags=tags(),
            **limit,
        )
        iam.put_role_policy(RoleName=name, PolicyName=_INLINE, PolicyDocument=json.dumps(policy))

    answer = find(iam.get_role, RoleName=name)
    if answer is None:
        work.make(what, make)
        return
    role = answer["Role"]
    if role["Path"] != path:
        _require_ours(role)
        moved = f"{role['Arn']} -> {path}{name}: give the workflows its new ARN"
        work.change(what, moved, lambda: (_remove_role(iam, name), make()))
        return
    changes = len(work.rows)
    if bounded:
        _bound(work, name, role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ""))
    if role["MaxSessionDuration"] < _SECONDS:
        work.change(
            f"{what}: longest session",
            f"{role['MaxSessionDuration']} -> {_SECONDS} seconds",
            lambda: iam.update_role(RoleName=name, MaxSessionDuration=_SECONDS),
        )
    _trust(work, name, role["AssumeRolePolicyDocument"], trusted)
    _inline(work, name, policy)
    if len(work.rows) == changes:
        work.there(what)


def _require_ours(role: dict[str, Any]) -> None:
    """Requires that bootstrap created a role of this name: earlier versions of it created them at `/`.

    Raises:
        KitError: it is somebody else's. Names of roles are unique whatever their path.
    """
    (mark,) = TAGS.items()
    if mark not in {(tag["Key"], tag["Value"]) for tag in role.get("Tags", [])}:
        raise KitError(
            "a role of this name exists, and bootstrap did not create it",
            where=role["Arn"],
            fix="delete or rename it, then repeat the command",
        )


def _remove_role(iam: Any, name: str) -> None:
    """Deletes a role, because its path can't be changed and its policy was wider; it is created again afterwards."""
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
    iam.delete_role(RoleName=name)


def _bound(work: AwsSteps, name: str, found: str) -> None:
    wanted = work.names.deploy_boundary_arn
    if found and found != wanted:
        raise KitError(
            "the role has another permissions boundary, which bootstrap does not remove",
            where=f"{name}: {found}",
            fix=f"set {wanted} on it by hand if that is intended, then repeat the command",
        )
    if not found:
        work.change(
            f"role {name}: boundary",
            "none -> " + work.names.deploy_boundary,
            lambda: work.clients("iam").put_role_permissions_boundary(RoleName=name, PermissionsBoundary=wanted),
        )


def _trust(work: AwsSteps, name: str, found: Policy, wanted: Policy) -> None:
    if same_json(found, wanted):
        return
    if _is_stricter(found, wanted):
        work.keep(f"role {name}: trust", "it is stricter than the kit's")
        return
    if _has_ids(found, wanted):
        work.keep(f"role {name}: trust", "it names the repository's ids, and --github doesn't")
        return
    work.change(
        f"role {name}: trust",
        "who may take it -> this repository's workflows alone",
        lambda: work.clients("iam").update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(wanted)),
    )


def _is_stricter(found: Policy, wanted: Policy) -> bool:
    """Returns whether the policy found is our one statement, with more conditions than ours."""
    statements, ours = found.get("Statement", []), wanted["Statement"][0]
    if len(statements) != 1 or any(statements[0].get(k) != ours[k] for k in ("Effect", "Principal", "Action")):
        return False
    conditions = statements[0].get("Condition", {})
    return all(
        conditions.get(operator, {}).get(key) == value
        for operator, pairs in ours["Condition"].items()
        for key, value in pairs.items()
    )


def _has_ids(found: Policy, wanted: Policy) -> bool:
    """Returns whether the policy found is ours but for ids in its subjects, which a caller who gives none would lose.
    Names alone are weaker: somebody else may register them once they are free.
    """
    if not isinstance(found.get("Statement"), list) or len(found["Statement"]) != 1:
        return False
    there, asked = _subjects(found), _subjects(wanted)
    return {without_ids(each) for each in there} == asked != there and same_json(
        _without_subjects(found), _without_subjects(wanted)
    )


def _subjects(policy: Policy) -> set[str]:
    """Returns the subjects that a trust policy's statement names."""
    named = policy["Statement"][0].get("Condition", {}).get("StringEquals", {}).get(_SUBJECT, [])
    return {named} if isinstance(named, str) else set(named)


def _without_subjects(policy: Policy) -> Policy:
    copy = deepcopy(policy)
    copy["Statement"][0].get("Condition", {}).get("StringEquals", {}).pop(_SUBJECT, None)
    return copy


def _inline(work: AwsSteps, name: str, wanted: Policy) -> None:
    iam = work.clients("iam")
    answer = find(iam.get_role_policy, RoleName=name, PolicyName=_INLINE)
    found = answer and answer["PolicyDocument"]
    if not same_json(found, wanted):
        work.change(
            f"role {name}: what it may do",
            "rewritten" if found else "written",
            lambda: iam.put_role_policy(RoleName=name, PolicyName=_INLINE, PolicyDocument=json.dumps(wanted)),
        )
