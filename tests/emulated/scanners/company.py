"""What a scanner finds in an account beside the stack: the company's own set-up, and resources that are wrong.

The set-up is what CIS's benchmark for AWS asks of an account and what no stack may do for it, and a bucket that has
what the stack's lack for a reason. So a check that fails fails for the stack, and one that passes was awake.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tests.support.clouds.aws import REGION, Account

COMPANY, WRONG = "company", "wrong"
"""What names of the account's own things and of wrong ones begin with."""
_GROUP = "company-trail"
_LOGS = "arn:aws:s3:::company-logs"
_POLICIES = "arn:aws:iam::aws:policy"
_ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_PASSWORDS = {
    "MinimumPasswordLength": 14,
    "RequireSymbols": True,
    "RequireNumbers": True,
    "RequireUppercaseCharacters": True,
    "RequireLowercaseCharacters": True,
    "MaxPasswordAge": 90,
    "PasswordReusePrevention": 24,
}


def set_up(account: Account) -> None:
    """Do what an account's owner does once."""
    iam = account.client("iam")
    iam.update_account_password_policy(**_PASSWORDS)
    iam.create_saml_provider(Name="company", SAMLMetadataDocument="<x>" * 400)
    for role, policy in (("company-support", "AWSSupportAccess"), ("company-auditor", "SecurityAudit")):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=_trust({"AWS": "arn:aws:iam::000000000000:root"}))
        iam.attach_role_policy(RoleName=role, PolicyArn=f"{_POLICIES}/{policy}")
    everything = [{"filter": "*", "filterType": "WILDCARD"}]
    rules = [{"scanFrequency": "CONTINUOUS_SCAN", "repositoryFilters": everything}]
    account.client("ecr").put_registry_scanning_configuration(scanType="ENHANCED", rules=rules)
    _make_bucket(account)
    _watch(account)
    sagemaker = account.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="company")
    sagemaker.create_model_package(ModelPackageGroupName="company", ModelApprovalStatus="Approved")


def make_wrong(account: Account) -> tuple[str, str]:
    """Make one of each that a scanner must find; what names the two that have no name of ours: key and AWS's policy."""
    _bucket(account, "wrong-bucket")
    key = account.client("kms").create_key(Description="wrong")["KeyMetadata"]["KeyId"]
    account.client("sns").create_topic(Name="wrong-topic")
    account.client("ecr").create_repository(repositoryName="wrong-repository")
    account.client("logs").create_log_group(logGroupName="/wrong/group")
    iam = account.client("iam")
    iam.create_policy(PolicyName="wrong-policy", PolicyDocument=json.dumps(_ANYTHING))
    iam.create_role(RoleName="wrong-role", AssumeRolePolicyDocument=_trust({"Service": "sagemaker.amazonaws.com"}))
    iam.attach_role_policy(RoleName="wrong-role", PolicyArn=f"{_POLICIES}/AdministratorAccess")
    iam.create_user(UserName="wrong-user")
    iam.attach_user_policy(UserName="wrong-user", PolicyArn=f"{_POLICIES}/AdministratorAccess")
    return str(key), "policy/AdministratorAccess"


def _make_bucket(account: Account) -> None:
    """A bucket that is watched, copied and locked."""
    s3 = account.client("s3")
    _bucket(account, "company-logs")
    logging = {"Service": "logging.s3.amazonaws.com"}
    written = {"Effect": "Allow", "Principal": logging, "Action": "s3:PutObject", "Resource": f"{_LOGS}/*"}
    trail = {"Service": "cloudtrail.amazonaws.com"}
    trails = {
        **written,
        "Principal": trail,
        "Action": ["s3:PutObject", "s3:GetBucketAcl"],
        "Resource": [_LOGS, f"{_LOGS}/*"],
    }
    policy = {"Version": "2012-10-17", "Statement": [written, trails]}
    s3.put_bucket_policy(Bucket="company-logs", Policy=json.dumps(policy))
    _bucket(account, "company-data", ObjectLockEnabledForBucket=True)
    logs = {"LoggingEnabled": {"TargetBucket": "company-logs", "TargetPrefix": ""}}
    for bucket in ("company-data", "company-logs"):
        s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus=logs)
    told = {"EventBridgeConfiguration": {}}
    s3.put_bucket_notification_configuration(Bucket="company-data", NotificationConfiguration=told)
    elsewhere = replace(account, info=replace(account.info, region="eu-west-1"), clients={})
    _bucket(elsewhere, "company-copies")
    for place, name in ((account, "company-data"), (elsewhere, "company-copies")):
        place.client("s3").put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    rule = {"ID": "all", "Status": "Enabled", "Prefix": "", "Destination": {"Bucket": "arn:aws:s3:::company-copies"}}
    role = "arn:aws:iam::000000000000:role/company-support"
    s3.put_bucket_replication(Bucket="company-data", ReplicationConfiguration={"Role": role, "Rules": [rule]})


def _watch(account: Account) -> None:
    """A trail, and an alarm for each kind of event that CIS's benchmark names."""
    account.client("logs").create_log_group(logGroupName=_GROUP)
    group = f"arn:aws:logs:{REGION}:000000000000:log-group:{_GROUP}:*"
    account.client("cloudtrail").create_trail(
        Name="company-trail",
        S3BucketName="company-logs",
        IsMultiRegionTrail=True,
        CloudWatchLogsLogGroupArn=group,
        CloudWatchLogsRoleArn="arn:aws:iam::000000000000:role/company-support",
    )
    account.client("cloudtrail").start_logging(Name="company-trail")
    insights = [{"InsightType": "ApiCallRateInsight"}]
    account.client("cloudtrail").put_insight_selectors(TrailName="company-trail", InsightSelectors=insights)
    for number, pattern in enumerate(_patterns()):
        metric = f"company-{number}"
        transformation = {"metricName": metric, "metricNamespace": COMPANY, "metricValue": "1"}
        account.client("logs").put_metric_filter(
            logGroupName=_GROUP, filterName=metric, filterPattern=pattern, metricTransformations=[transformation]
        )
        account.client("cloudwatch").put_metric_alarm(
            AlarmName=metric,
            MetricName=metric,
            Namespace=COMPANY,
            Statistic="Sum",
            Period=300,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            AlarmActions=[f"arn:aws:sns:{REGION}:000000000000:company"],
        )


def _patterns() -> Iterable[str]:
    for source, names in _EVENTS:
        events = " || ".join(f"($.eventName = {name})" for name in names.split())
        yield f"{{ ($.eventSource = {source}.amazonaws.com) && ({events}) }}" if source else f"{{ {events} }}"
    yield '{ ($.eventName = ConsoleLogin) && ($.errorMessage = "Failed authentication") }'
    yield '{ ($.eventName = ConsoleLogin) && ($.additionalEventData.MFAUsed != "Yes") }'
    yield (
        '{ $.userIdentity.type = "Root" && $.userIdentity.invokedBy NOT EXISTS && $.eventType != "AwsServiceEvent" }'
    )
    yield '{ ($.errorCode = "*UnauthorizedOperation") || ($.errorCode = "AccessDenied*") }'


_EVENTS = [
    line.partition(": ")[::2]
    for line in """
config: StopConfigurationRecorder DeleteDeliveryChannel PutDeliveryChannel PutConfigurationRecorder
: CreateTrail UpdateTrail DeleteTrail StartLogging StopLogging
organizations: AcceptHandshake AttachPolicy CancelHandshake CreateAccount CreateOrganization CreateOrganizationalUnit \
CreatePolicy DeclineHandshake DeleteOrganization DeleteOrganizationalUnit DeletePolicy EnableAllFeatures \
EnablePolicyType InviteAccountToOrganization LeaveOrganization DetachPolicy DisablePolicyType MoveAccount \
RemoveAccountFromOrganization UpdateOrganizationalUnit UpdatePolicy
kms: DisableKey ScheduleKeyDeletion
s3: PutBucketAcl PutBucketPolicy PutBucketCors PutBucketLifecycle PutBucketReplication DeleteBucketPolicy \
DeleteBucketCors DeleteBucketLifecycle DeleteBucketReplication
: DeleteGroupPolicy DeleteRolePolicy DeleteUserPolicy PutGroupPolicy PutRolePolicy PutUserPolicy CreatePolicy \
DeletePolicy CreatePolicyVersion DeletePolicyVersion AttachRolePolicy DetachRolePolicy AttachUserPolicy \
DetachUserPolicy AttachGroupPolicy DetachGroupPolicy
: AuthorizeSecurityGroupIngress AuthorizeSecurityGroupEgress RevokeSecurityGroupIngress RevokeSecurityGroupEgress \
CreateSecurityGroup DeleteSecurityGroup
: CreateNetworkAcl CreateNetworkAclEntry DeleteNetworkAcl DeleteNetworkAclEntry ReplaceNetworkAclEntry \
ReplaceNetworkAclAssociation
: CreateCustomerGateway DeleteCustomerGateway AttachInternetGateway CreateInternetGateway DeleteInternetGateway \
DetachInternetGateway
ec2: CreateRoute CreateRouteTable ReplaceRoute ReplaceRouteTableAssociation DeleteRouteTable DeleteRoute \
DisassociateRouteTable
: CreateVpc DeleteVpc ModifyVpcAttribute AcceptVpcPeeringConnection CreateVpcPeeringConnection \
DeleteVpcPeeringConnection RejectVpcPeeringConnection AttachClassicLinkVpc DetachClassicLinkVpc \
DisableVpcClassicLink EnableVpcClassicLink
""".strip().splitlines()
]
"""Source and names of events. CIS Amazon Web Services Foundations Benchmark, section on monitoring."""


def _bucket(account: Account, name: str, **options: Any) -> None:
    place = {"LocationConstraint": account.info.region}
    account.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=place, **options)


def _trust(principal: dict[str, str]) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
