"""Who may do what: the roles of jobs, endpoints and the scheduler, and the key that signs model versions.

Each role has the actions that its service takes on the stack's own things, and no more; what AWS allows on `*` alone is
marked. https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html
"""

import json
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_aws import iam, kms

from clouds.names import role_path
from infra import names
from infra.targets.aws.resources import policies
from infra.targets.aws.resources.images import Repositories
from infra.targets.aws.resources.network import Network
from infra.targets.aws.resources.observe import alarm_names, endpoint_group
from infra.targets.aws.resources.stack import Here
from infra.targets.aws.resources.storage import Storage

ALL = "*"  # for actions that know no resource
_WRITE = ("kms:Encrypt", "kms:GenerateDataKey")


@dataclass(frozen=True)
class Role:
    """A role's ARN, and what must be there before it can do its work."""

    arn: pulumi.Input[str]
    ready: list[pulumi.Resource]


@dataclass(frozen=True)
class Roles:
    """The stack's roles."""

    training: Role
    endpoint: Role
    scheduler: Role

    @property
    def arns(self) -> dict[str, pulumi.Input[str]]:
        """As the stack's outputs have them."""
        return {"training": self.training.arn, "endpoint": self.endpoint.arn, "scheduler": self.scheduler.arn}


@dataclass(frozen=True)
class SigningKey:
    """The key that signs model versions; its private half never leaves KMS."""

    arn: pulumi.Input[str]
    public_key: pulumi.Output[str]


@dataclass(frozen=True)
class Things:
    """What the roles may reach."""

    storage: Storage
    repositories: Repositories
    network: Network


def provide_roles(here: Here, things: Things) -> Roles:
    """Declare the roles, but for those that are given."""
    given = here.settings.aws.roles
    sagemaker = here.arn("sagemaker", "*")
    training = _role(here, "training", "sagemaker", sagemaker, given.training, training_statements(here, things))
    endpoint = _role(here, "endpoint", "sagemaker", sagemaker, given.endpoint, endpoint_statements(here, things))
    group = here.arn("scheduler", f"schedule-group/{schedule_group(here)}")
    scheduler = _role(
        here, "scheduler", "scheduler", group, given.scheduler, scheduler_statements(here, things, training)
    )
    return Roles(training, endpoint, scheduler)


def provide_signing_key(here: Here) -> SigningKey:
    """Declare the key, unless one is given, and ask for its public half."""
    given = here.settings.aws.signing_key_arn
    arn: pulumi.Input[str] = given or _signing_key(here).arn
    found = kms.get_public_key_output(key_id=arn, opts=pulumi.InvokeOutputOptions(provider=here.provider))
    return SigningKey(arn, found.public_key_pem)


def schedule_group(here: Here) -> str:
    """Name of the group that the stack's schedules are in."""
    return here.names.of("schedules")


def job_prefix(here: Here) -> str:
    """What the names of scheduled jobs begin with; a UUID follows, and both have 63 characters at most."""
    return here.names.of("run", 26)


def training_statements(here: Here, things: Things) -> list[policies.Statement]:
    """What a training job does: reads versions and its own input, writes its own run."""
    store, work = things.storage.store.arn, things.storage.work.arn
    return [
        policies.allow(
            ["s3:GetObject"],
            [_in(store, "datasets/*"), _in(store, "models/*"), _in(work, "runs/*"), _in(work, "schedules/*")],
        ),
        policies.allow(["s3:PutObject"], [_in(work, "runs/*")]),
        _list(store, "datasets/*", "models/*"),
        _list(work, "runs/*", "schedules/*"),
        *_image(things.repositories, "training"),
        *_logs(here, "/aws/sagemaker/TrainingJobs"),
        _metrics("/aws/sagemaker/TrainingJobs"),
        *_key(things.storage, ["kms:Decrypt", *_WRITE]),
        *_interfaces(here, things.network),
    ]


def endpoint_statements(here: Here, things: Things) -> list[policies.Statement]:
    """What an endpoint does: loads a version, logs, and looks at its alarms while it is updated."""
    store, work = things.storage.store.arn, things.storage.work.arn
    asynchronous = any(entry.mode == "async" for entry in here.settings.endpoints.values())
    found = [
        policies.allow(["s3:GetObject"], [_in(store, "models/*")]),
        _list(store, "models/*"),
        *_image(things.repositories, "serving"),
        *_logs(here, *(endpoint_group(here, name) for name in here.settings.endpoints)),
        _metrics("/aws/sagemaker/Endpoints"),
        *_key(things.storage, ["kms:Decrypt", *_WRITE] if asynchronous else ["kms:Decrypt"]),
        *_interfaces(here, things.network),
    ]
    names_of_alarms = [a for endpoint in here.settings.endpoints for a in alarm_names(here.names, endpoint)]
    if names_of_alarms:
        alarms = [here.arn("cloudwatch", f"alarm:{name}") for name in names_of_alarms]
        found.append(policies.allow(["cloudwatch:DescribeAlarms"], alarms))
    if asynchronous:
        found += [policies.allow(["s3:GetObject", "s3:PutObject"], [_in(work, "async/*")]), _list(work, "async/*")]
    return found


def scheduler_statements(here: Here, things: Things, training: Role) -> list[policies.Statement]:
    """What the scheduler does: starts jobs of ours with the training role."""
    jobs = here.arn("sagemaker", f"training-job/{job_prefix(here)}-*")
    return [
        policies.allow(["sagemaker:CreateTrainingJob", "sagemaker:AddTags"], [jobs]),
        policies.allow(
            ["iam:PassRole"], [training.arn], StringEquals={"iam:PassedToService": "sagemaker.amazonaws.com"}
        ),
        policies.allow(["kms:Decrypt"], [things.storage.key_arn]),  # the schedule's own content
    ]


def _role(here: Here, name: str, service: str, source: str, given: str, statements: list[policies.Statement]) -> Role:
    if given:
        return Role(given, [])
    role = iam.Role(
        f"role-{name}",
        # Names of roles are unique whatever their path: `-role` is what tells it from the same role of earlier versions
        # of the kit, at `/`, which goes after this one has come.
        name=here.names.of(f"{name}-role"),
        path=role_path(here.project),
        description=f"{name} of {here.project}, stack {here.stack}",
        assume_role_policy=json.dumps(_trust(here, f"{service}.amazonaws.com", source)),
        permissions_boundary=here.settings.aws.permissions_boundary_arn or None,
        opts=here.options(),
    )
    policy = iam.RolePolicy(
        f"role-{name}-policy", name=name, role=role.name, policy=policies.document(statements), opts=here.options()
    )
    return Role(role.arn, [role, policy])


def _trust(here: Here, service: str, source: str) -> dict[str, Any]:
    """Only the service, and only on behalf of this account's own things (the confused deputy)."""
    statement = policies.grant(
        {"Service": service},
        ["sts:AssumeRole"],
        ALL,
        StringEquals={"aws:SourceAccount": here.account},
        ArnLike={"aws:SourceArn": source},
    )
    del statement["Resource"]
    return {"Version": "2012-10-17", "Statement": [statement]}


def _signing_key(here: Here) -> kms.Key:
    administer = [
        "Describe*",
        "Get*",
        "List*",
        "Put*",
        "Update*",
        "TagResource",
        "UntagResource",
        "Enable*",
        "Disable*",
    ]
    administer += ["ScheduleKeyDeletion", "CancelKeyDeletion", "CreateAlias", "DeleteAlias", "Sign", "Verify"]
    account = {"AWS": here.arn("iam", "root", region=False)}
    statements = [policies.grant(account, [f"kms:{a}" for a in administer], ALL)]
    key = kms.Key(
        names.SIGNING_KEY,
        description=f"Signs model versions of {here.project}, stack {here.stack}",
        key_usage="SIGN_VERIFY",
        customer_master_key_spec="ECC_NIST_P256",  # asymmetric keys know no rotation
        deletion_window_in_days=30,
        policy=json.dumps({"Version": "2012-10-17", "Statement": statements}),
        opts=here.options(protect=True),
    )
    kms.Alias(
        names.kept("signing-key-alias"),
        name=f"alias/{here.names.of('signing')}",
        target_key_id=key.key_id,
        opts=here.options(protect=True),
    )
    return key


def _in(bucket: pulumi.Input[str], keys: str) -> pulumi.Output[str]:
    return pulumi.Output.concat(bucket, "/", keys)


def _list(bucket: pulumi.Input[str], *prefixes: str) -> policies.Statement:
    return policies.allow(["s3:ListBucket"], [bucket], StringLike={"s3:prefix": list(prefixes)})


def _image(repositories: Repositories, name: str) -> list[policies.Statement]:
    pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    return [
        policies.allow(pull, [repositories.arns[name]]),
        policies.allow(["ecr:GetAuthorizationToken"], ALL),
    ]


def _logs(here: Here, *groups: str) -> list[policies.Statement]:
    arns = [here.arn("logs", f"log-group:{group}") for group in groups]
    actions = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    return [policies.allow(actions, [each for arn in arns for each in (arn, f"{arn}:*")])] if arns else []


def _metrics(namespace: str) -> policies.Statement:
    return policies.allow(["cloudwatch:PutMetricData"], ALL, StringEquals={"cloudwatch:namespace": namespace})


def _key(storage: Storage, actions: list[str]) -> list[policies.Statement]:
    return [
        policies.allow(actions, [storage.key_arn]),
        # SageMaker gives the disks of instances a grant.
        policies.allow(["kms:CreateGrant"], [storage.key_arn], Bool={"kms:GrantIsForAWSResource": "true"}),
    ]


def _interfaces(here: Here, network: Network) -> list[policies.Statement]:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html#sagemaker-roles-vpc"""
    if not network:
        return []
    interfaces = here.arn("ec2", "network-interface/*")
    subnets = [pulumi.Output.concat(here.arn("ec2", "subnet/"), s) for s in network.subnets]
    groups = [pulumi.Output.concat(here.arn("ec2", "security-group/"), g) for g in network.security_groups]
    describe = ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")
    return [
        policies.allow(["ec2:CreateNetworkInterface"], [interfaces, *subnets, *groups]),
        policies.allow(
            [
                "ec2:CreateNetworkInterfacePermission",
                "ec2:DeleteNetworkInterface",
                "ec2:DeleteNetworkInterfacePermission",
            ],
            [interfaces],
        ),
        policies.allow([f"ec2:Describe{what}" for what in describe], ALL),
    ]
