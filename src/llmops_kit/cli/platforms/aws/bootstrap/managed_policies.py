"""Creates and updates the managed policies that bound roles; keeps denials that others added."""

import json
from typing import Any

from llmops_kit.cli.platforms.aws.bootstrap.names import AwsNames
from llmops_kit.cli.platforms.aws.bootstrap.steps import AwsSteps, same_json, tags
from llmops_kit.clouds.aws.errors import find
from llmops_kit.clouds.aws.policies import Policy
from llmops_kit.core.errors import KitError

LIMIT = 6_144
"""Maximum characters of a managed policy, without white space."""


def ensure_boundary(work: AwsSteps, name: str, wanted: Policy) -> None:
    """Creates or updates a boundary; keeps denials that somebody added.

    Raises:
        KitError: it would be longer than a managed policy may be.
    """
    iam, arn = work.clients("iam"), f"arn:{work.names.partition}:iam::{work.names.account}:policy/{name}"
    what = f"boundary {name}"
    _require_short(what, wanted)
    answer = find(iam.get_policy, PolicyArn=arn)
    if answer is None:
        work.make(what, lambda: iam.create_policy(PolicyName=name, PolicyDocument=_text(wanted), Tags=tags()))
        return
    version = answer["Policy"]["DefaultVersionId"]
    found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    if same_json(found, wanted):
        work.there(what)
        return
    known = [*wanted["Statement"], *_denied_before(work.names)]
    added = [s for s in found["Statement"] if s["Effect"] == "Deny" and s not in known]
    whole = {**wanted, "Statement": [*wanted["Statement"], *added]}
    _require_short(what, whole)
    if added:
        work.keep(what, f"{len(added)} denials that the kit did not write")
    if not same_json(found, whole):
        work.change(what, "a new version of it", lambda: _new_version(iam, arn, whole))


def _new_version(iam: Any, arn: str, document: Policy) -> None:
    """Writes a policy as its only version, so that nobody can return to an earlier, wider one."""
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=_text(document), SetAsDefault=True)
    for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
        if not version["IsDefaultVersion"]:
            iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])


def _require_short(what: str, document: Policy) -> None:
    """Raises KitError for a document that is longer than a managed policy may be:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    if (size := len(_text(document))) > LIMIT:
        raise KitError(
            f"would have {size} characters, but a managed policy has at most {LIMIT}",
            where=what,
            fix="name fewer buckets, keys and roles in the project's stack files, or shorten the project's name",
        )


def _text(document: Policy) -> str:
    return json.dumps(document, separators=(",", ":"))


def _denied_before(names: AwsNames) -> list[dict[str, Any]]:
    """Returns the denials in the boundary of kit versions up to 0.1, which are replaced, not kept."""
    roles = f"arn:{names.partition}:iam::{names.account}:role/{names.project}"
    bucket = f"arn:{names.partition}:s3:::{names.bucket}"
    role_life = "AttachRolePolicy CreateRole DeleteRole DeleteRolePolicy DetachRolePolicy PassRole"
    role_life += " PutRolePermissionsBoundary PutRolePolicy TagRole UntagRole UpdateAssumeRolePolicy UpdateRole"
    unbounded = {"StringNotEquals": {"iam:PermissionsBoundary": names.boundary_arn}}
    users = "DeleteRolePermissionsBoundary *User* *AccessKey* *LoginProfile*"

    def denied(service: str, verbs: str, resource: Any, **more: Any) -> dict[str, Any]:
        return {"Effect": "Deny", "Action": [f"{service}:{v}" for v in verbs.split()], "Resource": resource, **more}

    return [
        denied("iam", "CreateRole PutRolePermissionsBoundary PutRolePolicy AttachRolePolicy", "*", Condition=unbounded),
        denied("iam", users, "*"),
        denied("iam", "*Group* *Provider* *AccountAlias* *PasswordPolicy*", "*"),
        denied("iam", "CreatePolicyVersion DeletePolicy* SetDefaultPolicyVersion", names.boundary_arn),
        denied("iam", role_life, [f"{roles}-{kind}-*" for kind in ("preview", "deploy")]),
        denied("s3", "DeleteBucket* PutBucket* PutEncryption* PutLifecycle*", bucket),
        denied("s3", "DeleteObjectVersion", f"{bucket}/*"),
    ]
