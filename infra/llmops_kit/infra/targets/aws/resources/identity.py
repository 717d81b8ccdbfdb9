"""Permissions: the roles of jobs, endpoints and the scheduler, and the key that signs model versions.

Each role allows only the actions that its service takes, on the stack's own resources; ALL marks actions that AWS
allows only on `*`. https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import iam, kms

from llmops_kit.clouds.aws import policies
from llmops_kit.clouds.aws.names import (
    ENDPOINT_LOGS,
    JOB_LOGS,
    SAGEMAKER,
    endpoint_logs,
    image_repository_arn,
    role_path,
)
from llmops_kit.clouds.aws.settings import AwsSettings
from llmops_kit.infra.signing_keys import trusted_keys
from llmops_kit.infra.targets.aws.resources.alarms import rollout_alarm_names
from llmops_kit.infra.targets.aws.resources.context import AwsContext
from llmops_kit.infra.targets.aws.resources.images import Repositories
from llmops_kit.infra.targets.aws.resources.network import AwsNetwork
from llmops_kit.infra.targets.aws.resources.storage import AwsStorage, declare_key
from llmops_kit.settings.signing import SigningSettings
from llmops_kit.settings.stack_settings import Endpoint, Images

ALL = "*"  # for actions that can't be limited to a resource
_WRITE = ("kms:Encrypt", "kms:GenerateDataKey")
_INTERFACE = "ec2: CreateNetworkInterfacePermission DeleteNetworkInterface DeleteNetworkInterfacePermission"
_DESCRIBE = "ec2: DescribeDhcpOptions DescribeNetworkInterfaces DescribeSecurityGroups DescribeSubnets DescribeVpcs"


@dataclass(frozen=True)
class AwsRole:
    """A role's ARN, and the resources that must exist before the role can be used."""

    arn: pulumi.Input[str]
    ready: list[pulumi.Resource]


@dataclass(frozen=True)
class AwsSigningKeys:
    """The keys that sign model versions; the private keys never leave KMS."""

    arns: Sequence[pulumi.Input[str]]
    """The one that signs first."""
    public_keys: pulumi.Output[str]
    """Those that are trusted, in PEM."""


@dataclass(frozen=True)
class RoleScope:
    """The resources that the roles may use."""

    storage: AwsStorage
    repositories: Repositories
    network: AwsNetwork
    endpoints: dict[str, Endpoint]
    images: Images


def declare_training_role(stack: AwsContext, aws: AwsSettings, scope: RoleScope) -> AwsRole:
    """Declare the role of training jobs, unless one is given."""
    return _declared(stack, "training", "sagemaker", aws, aws.roles.training, training_statements(stack, scope))


def declare_endpoint_role(stack: AwsContext, aws: AwsSettings, scope: RoleScope, name: str = "endpoint") -> AwsRole:
    """Declare the role of the endpoints in a scope, unless one is given."""
    return _declared(stack, name, "sagemaker", aws, aws.roles.endpoint, endpoint_statements(stack, scope))


def declare_scheduler_role(stack: AwsContext, aws: AwsSettings, scope: RoleScope, training: AwsRole) -> AwsRole:
    """Declare the role that starts scheduled jobs, unless one is given."""
    statements = scheduler_statements(stack, scope, training)
    return _declared(stack, "scheduler", "scheduler", aws, aws.roles.scheduler, statements)


def declare_signing_keys(stack: AwsContext, given: str, signing: SigningSettings) -> AwsSigningKeys:
    """Declare the keys, unless one is given, and look up their public keys."""
    own = [] if given else [_signing_key(stack, number).arn for number in range(signing.keys, 0, -1)]
    arns: list[pulumi.Input[str]] = [given] if given else [*own]
    options = pulumi.InvokeOutputOptions(provider=stack.provider)
    found = [kms.get_public_key_output(key_id=arn, opts=options).public_key_pem for arn in arns]
    return AwsSigningKeys(arns, trusted_keys(signing, found))


def training_statements(stack: AwsContext, scope: RoleScope) -> list[policies.Statement]:
    """Returns the statements of a training job's role: read versions and its own input, write its own run."""
    store, work = scope.storage.store.arn, scope.storage.work.arn
    return [
        policies.allow(
            ["s3:GetObject"],
            [_in(store, "datasets/*"), _in(store, "models/*"), _in(work, "runs/*"), _in(work, "schedules/*")],
            **policies.owned_by(stack.account),
        ),
        policies.allow(["s3:PutObject"], [_in(work, "runs/*")], **policies.owned_by(stack.account)),
        _list(stack, store, "datasets/*", "models/*"),
        _list(stack, work, "runs/*", "schedules/*"),
        *_image(stack, scope, "training"),
        *_logs(stack, JOB_LOGS),
        _metrics(JOB_LOGS),
        *_key(scope.storage, ["kms:Decrypt", *_WRITE]),
        *_interfaces(stack, scope.network),
    ]


def endpoint_statements(stack: AwsContext, scope: RoleScope) -> list[policies.Statement]:
    """Returns the statements of an endpoint's role: load a version, log, and read its alarms during an update."""
    store, work = scope.storage.store.arn, scope.storage.work.arn
    asynchronous = any(entry.mode == "async" for entry in scope.endpoints.values())
    found = [
        policies.allow(["s3:GetObject"], [_in(store, "models/*")], **policies.owned_by(stack.account)),
        _list(stack, store, "models/*"),
        *_image(stack, scope, "serving"),
        *_logs(stack, *(endpoint_logs(stack.names.of(name)) for name in scope.endpoints)),
        _metrics(ENDPOINT_LOGS),
        *_key(scope.storage, ["kms:Decrypt", *_WRITE] if asynchronous else ["kms:Decrypt"]),
        *_interfaces(stack, scope.network),
    ]
    names_of_alarms = [a for endpoint in scope.endpoints for a in rollout_alarm_names(stack.names, endpoint)]
    if names_of_alarms:
        alarms = [stack.arn("cloudwatch", f"alarm:{name}") for name in names_of_alarms]
        found.append(policies.allow(["cloudwatch:DescribeAlarms"], alarms))
    if asynchronous:
        answers = ["s3:GetObject", "s3:PutObject"]
        found.append(policies.allow(answers, [_in(work, "async/*")], **policies.owned_by(stack.account)))
        found.append(_list(stack, work, "async/*"))
    return found


def scheduler_statements(stack: AwsContext, scope: RoleScope, training: AwsRole) -> list[policies.Statement]:
    """Returns the statements of the scheduler's role: start the stack's jobs with the training role."""
    jobs = stack.arn("sagemaker", f"training-job/{stack.job_prefix}-*")
    return [
        policies.allow(["sagemaker:CreateTrainingJob", "sagemaker:AddTags"], [jobs]),
        policies.allow(["iam:PassRole"], [training.arn], StringEquals={"iam:PassedToService": SAGEMAKER}),
        policies.allow(["kms:Decrypt"], [scope.storage.key_arn]),  # the schedule's own content
    ]


def _declared(
    stack: AwsContext, name: str, service: str, aws: AwsSettings, given: str, statements: list[policies.Statement]
) -> AwsRole:
    if given:
        return AwsRole(given, [])
    jobs, schedules = stack.arn("sagemaker", "*"), stack.arn("scheduler", f"schedule-group/{stack.schedule_group}")
    trusted = trust(stack, f"{service}.amazonaws.com", schedules if service == "scheduler" else jobs)
    return declare_role(stack, name, trusted, aws.permissions_boundary_arn, statements)


def declare_role(
    stack: AwsContext,
    name: str,
    trusted: dict[str, Any],
    boundary: str,
    statements: list[policies.Statement],
    *,
    path: str = "",
    kept: bool = False,
) -> AwsRole:
    """Declare a role and its one policy.

    Args:
        stack: that is declared.
        name: of the role in the stack.
        trusted: its trust policy.
        boundary: ARN of its permissions boundary; empty: none.
        statements: of its policy.
        path: IAM path; empty: that of the project's roles, which its deploy role may change.
        kept: whether it outlives the stack.
    """
    logical, keeping = (stack.names.kept, {"protect": True}) if kept else (stack.names.logical, {})
    role = iam.Role(
        logical(f"role-{name}"),
        # Role names are unique whatever their path: `-role` distinguishes this one from the same role of earlier
        # versions of the kit, at `/`, which is deleted only after this one was created.
        name=stack.names.of(f"{name}-role"),
        path=path or role_path(stack.project),
        description=f"{name} of {stack.project}, stack {stack.name}",
        assume_role_policy=json.dumps(trusted),
        permissions_boundary=boundary or None,
        opts=stack.options(**keeping),
    )
    policy = iam.RolePolicy(
        logical(f"role-{name}-policy"),
        name=name,
        role=role.name,
        policy=pulumi.Output.json_dumps(policies.document(statements)),
        opts=stack.options(**keeping),
    )
    return AwsRole(role.arn, [role, policy])


def trust(stack: AwsContext, service: str, source: str) -> dict[str, Any]:
    """Returns a trust policy for one service acting for this account's own scope (against the confused deputy)."""
    statement = policies.grant(
        {"Service": service},
        ["sts:AssumeRole"],
        ALL,
        StringEquals={"aws:SourceAccount": stack.account},
        ArnLike={"aws:SourceArn": source},
    )
    del statement["Resource"]
    return policies.document([statement])


_ADMINISTER = (
    "kms: Describe* Get* List* Put* Update* TagResource UntagResource Enable* Disable* ScheduleKeyDeletion"
    " CancelKeyDeletion CreateAlias DeleteAlias Sign Verify"
)


def _signing_key(stack: AwsContext, number: int) -> kms.Key:
    account = {"AWS": stack.arn("iam", "root", region=False)}
    statements = [policies.grant(account, [_ADMINISTER], ALL)]
    kind = {"key_usage": "SIGN_VERIFY", "customer_master_key_spec": "ECC_NIST_P256"}  # KMS can't rotate it
    return declare_key(stack, "signing", "Signs model versions", statements, number=number, **kind)


def _in(bucket: pulumi.Input[str], keys: str) -> pulumi.Output[str]:
    return pulumi.Output.concat(bucket, "/", keys)


def _list(stack: AwsContext, bucket: pulumi.Input[str], *prefixes: str) -> policies.Statement:
    below = {"StringLike": {"s3:prefix": list(prefixes)}}
    return policies.allow(["s3:ListBucket"], [bucket], **policies.owned_by(stack.account), **below)


def _image(stack: AwsContext, scope: RoleScope, name: str) -> list[policies.Statement]:
    """Returns the statements to pull the kit's image of a name, and images from other repositories of ECR, in any
    account, that the settings name.
    """
    pull = ["ecr: BatchCheckLayerAvailability BatchGetImage GetDownloadUrlForLayer"]
    own = stack.arn("ecr", f"repository/{stack.names.of(name)}")
    given = scope.images.model_dump().items()  # a package's images: serving, serving_vllm
    images = [image for field, image in given if field.partition("_")[0] == name]
    named = {image_repository_arn(image, stack.caller.partition) for image in images}
    others = sorted(named - {"", own, scope.repositories.arns.get(name)})
    return [
        policies.allow(pull, [scope.repositories.arns[name], *others]),
        policies.allow(["ecr:GetAuthorizationToken"], ALL),
    ]


def _logs(stack: AwsContext, *groups: str) -> list[policies.Statement]:
    arns = [stack.arn("logs", f"log-group:{group}") for group in groups]
    actions = ["logs: CreateLogGroup CreateLogStream DescribeLogStreams PutLogEvents"]
    return [policies.allow(actions, [each for arn in arns for each in (arn, f"{arn}:*")])] if arns else []


def _metrics(namespace: str) -> policies.Statement:
    return policies.allow(["cloudwatch:PutMetricData"], ALL, StringEquals={"cloudwatch:namespace": namespace})


def _key(storage: AwsStorage, actions: list[str]) -> list[policies.Statement]:
    return [
        policies.allow(actions, [storage.key_arn]),
        # SageMaker gives the disks of instances a grant.
        policies.allow(["kms:CreateGrant"], [storage.key_arn], Bool={"kms:GrantIsForAWSResource": "true"}),
    ]


def _interfaces(stack: AwsContext, network: AwsNetwork) -> list[policies.Statement]:
    """Returns the statements for jobs and endpoints in a VPC:
    https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html#sagemaker-roles-vpc
    """
    if not network:
        return []
    interfaces = stack.arn("ec2", "network-interface/*")
    subnets = [pulumi.Output.concat(stack.arn("ec2", "subnet/"), s) for s in network.subnets]
    groups = [pulumi.Output.concat(stack.arn("ec2", "security-group/"), g) for g in network.security_groups]
    return [
        policies.allow(["ec2:CreateNetworkInterface"], [interfaces, *subnets, *groups]),
        policies.allow([_INTERFACE], [interfaces]),
        policies.allow([_DESCRIBE], ALL),
    ]
