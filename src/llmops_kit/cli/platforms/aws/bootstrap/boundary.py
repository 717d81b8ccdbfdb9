"""The boundary of every role that a project's stacks create: its maximum, whatever its policies and trust allow.

A role of a stack can read and write the project's data, write logs and metrics, and start its training jobs. It can't
create or change principals, grant access to others (by a policy of a bucket, key, topic or repository), assume roles,
sign, or reach the states.
"""

from llmops_kit.cli.platforms.aws.bootstrap.reach import Reach
from llmops_kit.clouds.aws.names import AUDIT_LOGS, SAGEMAKER
from llmops_kit.clouds.aws.policies import Policy, allow, deny, policy

_PULL = "ecr: BatchCheckLayerAvailability BatchGetImage GetDownloadUrlForLayer"
_LOGS = "logs: CreateLogGroup CreateLogStream DescribeLogStreams PutLogEvents"
_INTERFACE = "ec2: CreateNetworkInterface CreateNetworkInterfacePermission DeleteNetworkInterface"
_INTERFACE += " DeleteNetworkInterfacePermission"
_LOOK = "ec2: DescribeDhcpOptions DescribeNetworkInterfaces DescribeSecurityGroups DescribeSubnets DescribeVpcs"
_USE = "kms: Decrypt Encrypt GenerateDataKey"


def boundary(reach: Reach) -> Policy:
    """Returns the boundary. https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html"""
    for_aws = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    alias = reach.arn("kms", reach.names.alias)
    statements = [
        allow(["s3: AbortMultipartUpload GetObject ListBucket PutObject"], reach.buckets(), **reach.own),
        allow([_PULL], [*reach.repositories, *reach.pulled]),
        allow(["ecr: GetAuthorizationToken", _LOOK], "*"),
        allow([_INTERFACE], reach.arn("ec2", "network-interface/*", "subnet/*", "security-group/*")),
        allow(
            [_LOGS],
            [*reach.arn("logs", "log-group:/aws/sagemaker/*"), *reach.named("logs", f"log-group:{AUDIT_LOGS}/")],
        ),
        allow(["cloudwatch: PutMetricData"], "*", StringLike={"cloudwatch:namespace": "/aws/sagemaker/*"}),
        allow(["cloudwatch: DescribeAlarms"], reach.named("cloudwatch", "alarm:")),
        allow([_USE], reach.keys, StringEquals=reach.ours),
        allow(["kms: CreateGrant"], reach.keys, StringEquals=reach.ours, **for_aws),
        allow(["sagemaker: AddTags CreateTrainingJob"], reach.jobs),
        allow(
            ["iam: PassRole"],
            [*reach.roles, *reach.given.roles],
            StringEquals={"iam:PassedToService": SAGEMAKER},
        ),
        deny(["s3: *"], reach.state),
        deny(["kms: *"], [reach.key, *alias]),
        deny(
            ["kms: CreateAlias DeleteAlias PutKeyPolicy ScheduleKeyDeletion Sign UpdateAlias", "sts: AssumeRole"], "*"
        ),
    ]
    if reach.given.keys:
        keys = [*reach.given.keys]
        statements += [allow([_USE], keys), allow(["kms: CreateGrant"], keys, **for_aws)]
    return policy(*statements)
