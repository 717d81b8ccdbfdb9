"""The deploy role: a policy for what `llmops up` and `down` do to a project's resources, and a boundary.

The policy names actions; a recorded one (`llmops plan --policy`) can replace it. The boundary names the same resources
with wider actions, since a managed policy has a lower size limit, and explicitly denies actions that a resource's own
policy could otherwise allow.
"""

from dataclasses import replace

from llmops_kit.cli.platforms.aws.bootstrap.reach import REQUESTED, TAG, Reach
from llmops_kit.clouds.aws.names import SAGEMAKER, SCHEDULER
from llmops_kit.clouds.aws.policies import Policy, Statement, allow, deny, deny_all_but, policy

_SCALING = "sagemaker.application-autoscaling.amazonaws.com"
_ON_ALL = [  # actions without resource-level permissions, or on resources whose names aren't known before
    "cloudwatch: DescribeAlarms",
    "ec2: Describe*",
    "ecr: GetAuthorizationToken",
    "kms: ListAliases ListKeys",
    "logs: *LogDelivery DescribeLogGroups",
    "sagemaker: ListModelPackages ListTrainingJobs",
    "servicequotas: Get* List*",
]
_OPENERS = [  # actions that give others access by another way than a role, and those that the deploy role never needs
    "ecr: SetRepositoryPolicy",
    "kms: Sign",
    "logs: PutResourcePolicy PutSubscriptionFilter",
    "s3: PutAccessPointPolicy PutBucketAcl PutObjectAcl PutReplicationConfiguration",
    "sagemaker: CreatePresigned* PutModelPackageGroupPolicy",
    "sns: AddPermission",
    "sts: AssumeRole",
]
_NEW_BUCKET = "s3: CreateBucket"  # always in the caller's account, whatever the name
_KEY_USE = "kms: Decrypt DescribeKey Encrypt GenerateDataKey GetPublicKey"
_KEY_OWN = (
    "CreateAlias DeleteAlias EnableKey EnableKeyRotation Get* List* PutKeyPolicy ScheduleKeyDeletion UntagResource"
    " UpdateAlias UpdateKeyDescription"
)
_STATE_USE = "kms: Decrypt DescribeKey Encrypt GenerateDataKey Get* List*"
_FOR_AWS = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
_NEW_IN_VPC = "ec2: AuthorizeSecurityGroup* CreateFlowLogs CreateRouteTable CreateSecurityGroup CreateSubnet CreateVpc"
_NEW_IN_VPC += " CreateVpcEndpoint"
_IN_VPC = "ec2: Associate* Authorize* Create* Delete* Disassociate* Modify* Revoke*"


def deploy_policy(reach: Reach) -> Policy:
    """Allows the actions of a stack's program on the project's resources. No `kms:Sign`: only promoters sign."""
    keys = _keys(reach, f"{_KEY_USE} {_KEY_OWN}", _KEY_USE)
    keys.append(allow(["kms: CreateGrant"], reach.keys, StringEquals=reach.ours, **_FOR_AWS))
    if given := [*reach.given.keys, *reach.given.signing_keys]:
        keys.append(allow(["kms: CreateGrant"], given, **_FOR_AWS))
    return policy(*_data(reach), *keys, *_roles(reach), *_services(reach), *_network(reach), *_no_audit(reach))


def deploy_boundary(reach: Reach) -> Policy:
    """Returns the boundary of the deploy role: it can do no more, whatever its policy and those of buckets and keys
    allow.
    """
    reach = replace(reach, region="*")
    wide = [f"{s}: *" for s in ("cloudwatch", "ecr", "logs", "s3", "sagemaker", "scheduler", "sns")]
    things = [*reach.buckets(), *reach.repositories, *_endpoints(reach), *_alarms(reach), *_groups(reach)]
    things += [*reach.named("sns", ""), *_schedules(reach)]
    alias = reach.arn("kms", reach.names.alias)
    return policy(
        # IfExists, for CreateBucket: another statement would exceed the size limit of a managed policy.
        allow(wide, things, StringEqualsIfExists=reach.own["StringEquals"]),
        allow(_ON_ALL, "*"),
        allow(["application-autoscaling: *"], "*", **_OF_SAGEMAKER),
        allow(["budgets: *"], _budgets(reach)),
        # More than needed: grants to others, and the state's key, are denied below.
        *_keys(reach, "kms: *", f"{_KEY_USE} CreateGrant"),
        *_roles(reach),
        *_network(reach),
        deny(["kms: CreateGrant"], "*", Bool={"kms:GrantIsForAWSResource": "false"}),
        deny(_OPENERS, "*"),
        deny(["kms: CreateGrant PutKeyPolicy"], "*", StringEquals={"kms:KeyUsage": "SIGN_VERIFY"}),
        deny_all_but(["s3: DeleteObject Get* List* PutObject"], reach.state),
        deny_all_but([_STATE_USE], [reach.key, *alias]),
    )


def _data(reach: Reach) -> list[Statement]:
    buckets = "s3: DeleteBucket DeleteBucketPolicy Get* List* PutBucketOwnershipControls PutBucketPolicy"
    buckets += " PutBucketPublicAccessBlock PutBucketTagging PutBucketVersioning PutEncryptionConfiguration"
    buckets += " PutLifecycleConfiguration TagResource AbortMultipartUpload DeleteObject DeleteObjectVersion PutObject"
    images = (
        "ecr: Batch* Complete* Create* Delete* Describe* Get* Initiate* List* Put* TagResource UntagResource Upload*"
    )
    return [
        allow([buckets], reach.buckets(), **reach.own),
        allow([_NEW_BUCKET], reach.buckets()),
        allow([images], reach.repositories),
        allow(_ON_ALL, "*"),
    ]


def _keys(reach: Reach, own: str, use: str) -> list[Statement]:
    """Returns permissions on keys: `own` on the project's, `use` on the state's and on given ones.

    The project's keys are identified by their tag, since ARNs are not known before. The tag may be set on untagged keys
    (so that new ones get it), but not on a key to which others gave an alias.
    https://docs.aws.amazon.com/kms/latest/developerguide/tag-permissions.html
    """
    project, given = reach.names.project, [*reach.given.keys, *reach.given.signing_keys]
    named = {"ForAnyValue:StringNotLike": {"kms:ResourceAliases": f"alias/{reach.names.prefix}-*"}}
    return [
        allow([use], [reach.key, *given]),
        allow([own], reach.keys, StringEquals=reach.ours),
        allow(["kms: CreateKey"], "*", StringEquals={REQUESTED: project}),
        allow(["kms: TagResource"], reach.keys, StringEqualsIfExists={TAG: project, REQUESTED: project}),
        allow(["kms: *Alias"], reach.named("kms", "alias/")),
        deny(["kms: TagResource"], reach.keys, **named),
    ]


def _roles(reach: Reach) -> list[Statement]:
    """Returns permissions on roles of the path, within the boundary, which no policy of such a role can exceed."""
    bounded = {"iam:PermissionsBoundary": reach.names.boundary_arn}
    limited = "iam: CreateRole DeleteRolePolicy PutRolePermissionsBoundary PutRolePolicy"
    other = "iam: DeleteRole Get* List* *TagRole UpdateAssumeRolePolicy UpdateRole*"
    linked = reach.arn("iam", "role/aws-service-role/*", region=False)
    return [
        allow([other], reach.roles),
        allow([limited], reach.roles, StringEquals=bounded),
        allow(
            ["iam: PassRole"],
            [*reach.roles, *reach.given.roles],
            StringEquals={"iam:PassedToService": [SAGEMAKER, SCHEDULER]},
        ),
        allow(["iam: CreateServiceLinkedRole"], linked, StringEquals={"iam:AWSServiceName": _SCALING}),
    ]


def _services(reach: Reach) -> list[Statement]:
    endpoints = "sagemaker: AddTags Create*Endpoint* CreateModel* Delete*Endpoint* DeleteModel* DeleteTags"
    endpoints += " DeleteTrainingJob Describe* List* StopTrainingJob Update*Endpoint* UpdateTrainingJob"
    scaling = "application-autoscaling: Delete* Deregister* Describe* List* Put* Register* TagResource UntagResource"
    logs = "logs: AssociateKmsKey CreateLogGroup DeleteLogGroup DeleteMetricFilter DeleteRetentionPolicy Describe*"
    logs += " DisassociateKmsKey FilterLogEvents List* PutMetricFilter PutRetentionPolicy TagResource UntagResource"
    topics = (
        "sns: CreateTopic DeleteTopic Get* List* SetTopicAttributes Subscribe TagResource Unsubscribe UntagResource"
    )
    alarms = "cloudwatch: Delete* DescribeAlarmHistory Get* List* PutDashboard PutMetricAlarm TagResource UntagResource"
    return [
        allow([endpoints], _endpoints(reach)),
        allow([scaling], "*", **_OF_SAGEMAKER),
        allow([alarms], _alarms(reach)),
        allow([logs], _groups(reach)),
        allow([topics], reach.named("sns", "")),
        allow(["scheduler: Create* Delete* Get* List* TagResource UntagResource Update*"], _schedules(reach)),
        allow(["budgets: ListTagsForResource ModifyBudget TagResource UntagResource ViewBudget"], _budgets(reach)),
    ]


_OF_SAGEMAKER = {"StringEqualsIfExists": {"application-autoscaling:service-namespace": "sagemaker"}}


def _network(reach: Reach) -> list[Statement]:
    """Returns permissions on a VPC of the stack's own (`network: {mode: own}`): new resources get the project's tag,
    existing ones must have it.

    Existing resources can't be tagged, which would make them the project's; except rules, which belong to their group.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html
    """
    new = {"StringEquals": {REQUESTED: reach.names.project}}
    return [
        allow([_NEW_IN_VPC], "*", **new),
        allow([_IN_VPC], "*", StringEquals=reach.ours),
        allow(["ec2: CreateTags"], "*", **new, Null={"ec2:CreateAction": "false"}),
        allow(["ec2: CreateTags"], reach.arn("ec2", "security-group-rule/*"), **new),
    ]


def _no_audit(reach: Reach) -> list[Statement]:
    """Denies changes of the buckets of trails (`audit: true`), which an administrator makes: nothing here allows the
    trails, their log groups and roles. The names of these buckets end in twelve digits of a hash.
    """
    bucket = f"arn:{reach.names.partition}:s3:::{reach.names.prefix}-*-audit-{'?' * 12}"
    return [deny_all_but(["s3: Get* List*"], [bucket, f"{bucket}/*"])]


def _endpoints(reach: Reach) -> list[str]:
    """Returns the ARNs of endpoints, their configurations and models, model packages, and jobs."""
    kinds = ("endpoint/", "endpoint-config/", "model/", "model-package/", "model-package-group/")
    return [*reach.named("sagemaker", *kinds), *reach.jobs]


def _alarms(reach: Reach) -> list[str]:
    alarms = reach.named("cloudwatch", "alarm:", "alarm:TargetTracking-endpoint/")
    return [*alarms, *reach.named("cloudwatch", "dashboard/", region=False)]


def _groups(reach: Reach) -> list[str]:
    return reach.named("logs", "log-group:/aws/sagemaker/Endpoints/")


def _schedules(reach: Reach) -> list[str]:
    return reach.named("scheduler", "schedule/", "schedule-group/")


def _budgets(reach: Reach) -> list[str]:
    return reach.named("budgets", "budget/", region=False)
