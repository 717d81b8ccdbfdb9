"""`audit: true`: a trail of who used the keys and the store, in a bucket where nobody can change it, and alarms.

The trail, its bucket, log group and role outlive the stack. They are made and changed by an administrator: the deploy
role of `llmops bootstrap aws` may read them alone.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/best-practices-security.html
"""

import pulumi
from pulumi_aws import cloudtrail, cloudwatch

from llmops_kit.clouds.aws import policies
from llmops_kit.clouds.aws.names import AUDIT_LOGS, CLOUDTRAIL, audit_path
from llmops_kit.clouds.aws.settings import AwsSettings
from llmops_kit.infra.targets.aws.resources.context import AwsContext
from llmops_kit.infra.targets.aws.resources.identity import AwsSigningKeys, declare_role, trust
from llmops_kit.infra.targets.aws.resources.storage import AwsStorage, declare_audit_bucket, trail_arn

_PERIOD = 300
_TRAIL = "CreateTrail DeleteTrail PutEventSelectors StopLogging UpdateTrail"
_KEYS = "DisableKey PutKeyPolicy ScheduleKeyDeletion"
_BUCKETS = "DeleteBucketPolicy PutBucketObjectLockConfiguration PutBucketPolicy PutBucketPublicAccessBlock"
_BUCKETS += " PutBucketVersioning"


def declare_audit(
    stack: AwsContext, given: AwsSettings, storage: AwsStorage, signing: AwsSigningKeys, topic: pulumi.Input[str]
) -> pulumi.Input[str]:
    """Declare the trail and its alarms; returns the name of its bucket.

    Args:
        stack: that is declared.
        given: the target's settings.
        storage: the store, whose objects' events are recorded, and the key that encrypts the trail's files.
        signing: the keys that sign versions.
        topic: ARN of the topic that alarms notify.
    """
    name, days = stack.names.of("audit"), given.log_retention_days
    bucket = declare_audit_bucket(stack, storage.key_arn, days)
    group = cloudwatch.LogGroup(
        stack.names.kept("logs-audit"),
        name=f"{AUDIT_LOGS}/{name}",
        retention_in_days=days,
        kms_key_id=storage.key_arn,
        opts=stack.options(protect=True),
    )
    streams = stack.arn("logs", f"log-group:{AUDIT_LOGS}/{name}:log-stream:*")
    role = declare_role(
        stack,
        "audit",
        trust(stack, CLOUDTRAIL, trail_arn(stack)),
        given.permissions_boundary_arn,
        [policies.allow(["logs: CreateLogStream PutLogEvents"], [streams])],
        path=audit_path(stack.project),
        kept=True,
    )
    cloudtrail.Trail(
        stack.names.kept("trail"),
        name=name,
        s3_bucket_name=bucket.name,
        kms_key_id=storage.key_arn,
        cloud_watch_logs_group_arn=pulumi.Output.concat(group.arn, ":*"),
        cloud_watch_logs_role_arn=role.arn,
        enable_log_file_validation=True,
        is_multi_region_trail=True,  # changes of roles and policies are events of us-east-1
        advanced_event_selectors=[
            _selector("Management events selector", _equal("eventCategory", "Management")),
            _selector(
                "Objects of the store",
                _equal("eventCategory", "Data"),
                _equal("resources.type", "AWS::S3::Object"),
                {"field": "resources.ARN", "starts_withs": [pulumi.Output.concat(storage.store.arn, "/")]},
            ),
        ],
        opts=stack.options(protect=True, depends_on=[*bucket.ready, *role.ready]),
    )
    keys = _one_of("$.resources[0].ARN", *signing.arns, storage.key_arn)
    buckets = _one_of("$.requestParameters.bucketName", storage.store.name, bucket.name)
    used = pulumi.Output.concat('($.eventName = "Sign") && ', _one_of("$.resources[0].ARN", *signing.arns))
    of_keys = pulumi.Output.concat("(", _named(_KEYS), " && ", keys, ")")
    of_buckets = pulumi.Output.concat("(", _named(_BUCKETS), " && ", buckets, ")")
    _alarm(stack, "signed", "the signing key was used", group.name, used, topic)
    changed = pulumi.Output.concat(_named(_TRAIL), " || ", of_keys, " || ", of_buckets)
    _alarm(stack, "changed", "trail, keys or buckets were changed", group.name, changed, topic)
    return bucket.name


def _selector(
    name: str, *fields: cloudtrail.TrailAdvancedEventSelectorFieldSelectorArgsDict
) -> cloudtrail.TrailAdvancedEventSelectorArgsDict:
    return {"name": name, "field_selectors": list(fields)}


def _equal(field: str, value: str) -> cloudtrail.TrailAdvancedEventSelectorFieldSelectorArgsDict:
    return {"field": field, "equals": [value]}


def _named(names: str) -> str:
    """Returns a filter for events by their names."""
    return "(" + " || ".join(f"($.eventName = {name})" for name in names.split()) + ")"


def _one_of(selector: str, *values: pulumi.Input[str]) -> pulumi.Output[str]:
    """Returns a filter for events whose field has one of some values."""
    return pulumi.Output.all(*values).apply(
        lambda known: "(" + " || ".join(f'({selector} = "{value}")' for value in known) + ")"
    )


def _alarm(
    stack: AwsContext,
    what: str,
    words: str,
    group: pulumi.Input[str],
    events: pulumi.Output[str],
    topic: pulumi.Input[str],
) -> None:
    """Declares a count of events in the trail's log group, and the alarm that notifies of each.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudwatch-alarms-for-cloudtrail.html
    """
    name = stack.names.of(f"audit-{what}")
    cloudwatch.LogMetricFilter(
        stack.names.logical(f"audit-{what}"),
        name=name,
        log_group_name=group,
        pattern=pulumi.Output.concat("{ ", events, " }"),
        metric_transformation={"name": name, "namespace": f"LLMOps/{stack.name}", "value": "1"},
        opts=stack.options(),
    )
    cloudwatch.MetricAlarm(
        stack.names.logical(f"alarm-audit-{what}"),
        name=name,
        alarm_description=f"{words}: the trail {stack.names.of('audit')} says by whom",
        namespace=f"LLMOps/{stack.name}",
        metric_name=name,
        statistic="Sum",
        period=_PERIOD,
        evaluation_periods=1,
        datapoints_to_alarm=1,
        threshold=0,
        comparison_operator="GreaterThanThreshold",
        treat_missing_data="notBreaching",
        alarm_actions=[topic],
        opts=stack.options(),
    )
