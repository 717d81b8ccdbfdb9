"""The policies of bootstrap's roles: who may take them, what they may do, and what bounds them."""

from typing import Any

from llmops.platforms.aws.bootstrap import Names

GITHUB = "token.actions.githubusercontent.com"
_SERVICES = (
    "application-autoscaling",
    "budgets",
    "cloudwatch",
    "ecr",
    "kms",
    "logs",
    "s3",
    "sagemaker",
    "scheduler",
    "servicequotas",
    "sns",
)
_VPC = ("Vpc", "Subnet", "SecurityGroup", "RouteTable", "VpcEndpoint", "NetworkInterface", "Tags", "FlowLogs")
_READ_S3 = ("GetBucket*", "Get*Configuration", "ListBucket*")
Policy = dict[str, Any]


def trust(names: Names, subjects: list[str]) -> Policy:
    """Only a workflow of one repository, from named places of it, may take a role.

    https://docs.github.com/en/actions/security-for-github-actions/security-hardening-your-deployments

    Args:
        names: of the account.
        subjects: `repo:OWNER/REPO:pull_request`, `repo:OWNER/REPO:ref:refs/heads/main`.
    """
    return _policy(
        {
            "Effect": "Allow",
            "Principal": {"Federated": provider_arn(names)},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{GITHUB}:aud": "sts.amazonaws.com", f"{GITHUB}:sub": subjects}},
        }
    )


def provider_arn(names: Names) -> str:
    """The account's OIDC provider for GitHub."""
    return f"arn:{names.partition}:iam::{names.account}:oidc-provider/{GITHUB}"


def preview_policy(names: Names, key: str) -> Policy:
    """What `pulumi preview` reads: the state, how resources are, and what the store says of versions. No data."""
    describe = [f"{s}:{verb}*" for s in _SERVICES if s not in ("s3", "kms") for verb in ("Describe", "List", "Get")]
    return _policy(
        _allow(sorted(describe), "*"),
        _allow(["ecr:GetAuthorizationToken", "budgets:ViewBudget", "sts:GetCallerIdentity"], "*"),
        _allow(["kms:DescribeKey", "kms:GetKey*", "kms:GetPublicKey", "kms:List*"], "*"),
        _allow(["iam:Get*", "iam:List*", "ec2:Describe*"], "*"),
        _allow([f"s3:{a}" for a in _READ_S3], "*"),
        _allow(["s3:GetObject"], _objects(names, f"{names.project}-*", *_SAID_OF_VERSIONS)),
        _allow(["s3:GetObject"], _objects(names, names.bucket, "*")),
        _allow(["kms:Decrypt"], key),
        _allow(["kms:Decrypt"], _keys(names), _of_our_store(names)),
        _deny(["ecr:GetDownloadUrlForLayer", "logs:GetLogEvents", "logs:GetQueryResults"], "*"),
    )


_SAID_OF_VERSIONS = ("aliases/*", "rejections/*", "models/*/manifest.json")


def deploy_policy(names: Names, key: str) -> Policy:
    """What the program's services take at most; `llmops plan --policy` records less."""
    return _policy(
        _allow([f"{s}:*" for s in _SERVICES], "*"),
        _allow([f"ec2:*{part}*" for part in _VPC] + ["ec2:Describe*"], "*"),
        _allow(["iam:Get*", "iam:List*", "sts:GetCallerIdentity"], "*"),
        _allow(_ROLE_LIFE, f"arn:{names.partition}:iam::{names.account}:role/{names.project}-*"),
        _allow(["iam:CreateServiceLinkedRole"], "*"),
        _allow(["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"], key),
        _allow(["secretsmanager:GetSecretValue"], _secrets(names)),
    )


_ROLE_LIFE = [
    f"iam:{action}"
    for action in (
        "AttachRolePolicy",
        "CreateRole",
        "DeleteRole",
        "DeleteRolePolicy",
        "DetachRolePolicy",
        "PassRole",
        "PutRolePermissionsBoundary",
        "PutRolePolicy",
        "TagRole",
        "UntagRole",
        "UpdateAssumeRolePolicy",
        "UpdateRole",
    )
]


def boundary(names: Names) -> Policy:
    """What the deploy role, and every role that it makes, can do at most: never more than this, whoever writes what.

    A role that is made must carry the same boundary; the boundary, the state's bucket and its key stay as they are.
    """
    arn = names.boundary_arn
    bucket = f"arn:{names.partition}:s3:::{names.bucket}"
    return _policy(
        _allow([f"{s}:*" for s in (*_SERVICES, "ec2", "iam", "sts")], "*"),
        _allow(["secretsmanager:GetSecretValue"], _secrets(names)),
        _deny(
            ["iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy", "iam:AttachRolePolicy"],
            "*",
            {"StringNotEquals": {"iam:PermissionsBoundary": arn}},
        ),
        _deny(["iam:DeleteRolePermissionsBoundary", "iam:*User*", "iam:*AccessKey*", "iam:*LoginProfile*"], "*"),
        _deny(["iam:*Group*", "iam:*Provider*", "iam:*AccountAlias*", "iam:*PasswordPolicy*"], "*"),
        _deny(["iam:CreatePolicyVersion", "iam:DeletePolicy*", "iam:SetDefaultPolicyVersion"], arn),
        _deny(_ROLE_LIFE, [f"arn:{names.partition}:iam::{names.account}:role/{names.project}-{k}-*" for k in _KINDS]),
        _deny(["s3:DeleteBucket*", "s3:PutBucket*", "s3:PutEncryption*", "s3:PutLifecycle*"], bucket),
        _deny(["s3:DeleteObjectVersion"], f"{bucket}/*"),
    )


_KINDS = ("preview", "deploy")


def _policy(*statements: Policy) -> Policy:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(actions: list[str], resource: str | list[str], condition: Policy | None = None) -> Policy:
    statement = {"Effect": "Allow", "Action": actions, "Resource": resource}
    return statement | ({"Condition": condition} if condition else {})


def _deny(actions: list[str], resource: str | list[str], condition: Policy | None = None) -> Policy:
    statement = {"Effect": "Deny", "Action": actions, "Resource": resource}
    return statement | ({"Condition": condition} if condition else {})


def _keys(names: Names) -> str:
    return f"arn:{names.partition}:kms:{names.region}:{names.account}:key/*"


def _secrets(names: Names) -> str:
    """What recipes name as secret:NAME."""
    return f"arn:{names.partition}:secretsmanager:{names.region}:{names.account}:secret:{names.project}/*"


def _of_our_store(names: Names) -> Policy:
    """Keys of the project's stacks, for objects that S3 hands out."""
    suffix = "amazonaws.com.cn" if names.partition == "aws-cn" else "amazonaws.com"
    service = f"s3.{names.region}.{suffix}"
    return {"StringEquals": {"aws:ResourceTag/llmops:project": names.project, "kms:ViaService": service}}


def _objects(names: Names, bucket: str, *keys: str) -> list[str]:
    return [f"arn:{names.partition}:s3:::{bucket}/{key}" for key in keys]
