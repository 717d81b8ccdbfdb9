"""Each service's resources through the real engine: made, kept, changed, drifted, put back, removed."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from twins.tests.emulated.plugins import programs

MakeProgram = Callable[..., Any]
MANAGED = "arn:aws:iam::aws:policy"
QUEUE = "arn:aws:sqs:eu-central-1:000000000000:heard"


@dataclass(frozen=True)
class Case:
    """A program, then one with other values, and what that changes."""

    text: str
    first: dict[str, Any]
    other: dict[str, Any]
    changes: dict[str, str]
    drift: Callable[[Any, dict[str, Any]], None] | None = None
    drifted: dict[str, str] = field(default_factory=dict)
    """What `up` would do after the drift."""


def _storage(program: Any, made: dict[str, Any]) -> None:
    bucket = made["store"]["id"]
    program.client("s3").delete_bucket_policy(Bucket=bucket)
    program.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    program.client("kms").update_key_description(KeyId=made["key"]["id"], Description="other")


def _identity(program: Any, made: dict[str, Any]) -> None:
    iam = program.client("iam")
    iam.delete_role_policy(RoleName=made["role"]["id"], PolicyName=made["inline"]["inputs"]["name"])
    iam.tag_role(RoleName=made["role"]["id"], Tags=[{"Key": "odd", "Value": "one"}])


def _watching(program: Any, made: dict[str, Any]) -> None:
    program.client("logs").put_retention_policy(logGroupName=made["logs"]["id"], retentionInDays=1)
    program.client("cloudwatch").delete_dashboards(DashboardNames=["models"])


def _messages(program: Any, made: dict[str, Any]) -> None:
    topic = made["topic"]["id"]
    program.client("sns").set_topic_attributes(TopicArn=topic, AttributeName="DisplayName", AttributeValue="Other")


def _registry(program: Any, made: dict[str, Any]) -> None:
    program.client("ecr").put_image_tag_mutability(repositoryName="kit/serving", imageTagMutability="MUTABLE")
    program.client("ecr").delete_lifecycle_policy(repositoryName="kit/serving")


def _network(program: Any, made: dict[str, Any]) -> None:
    ec2 = program.client("ec2")
    ec2.revoke_security_group_ingress(GroupId=made["group"]["id"], SecurityGroupRuleIds=[made["https"]["id"]])
    ec2.create_tags(Resources=[made["vpc"]["id"]], Tags=[{"Key": "odd", "Value": "one"}])


def _planned(program: Any, made: dict[str, Any]) -> None:
    program.client("scheduler").delete_schedule(GroupName="kit", Name="nightly")


def _trails(program: Any, made: dict[str, Any]) -> None:
    program.client("cloudtrail").stop_logging(Name=made["trail"]["id"])
    lock = {"ObjectLockEnabled": "Enabled"}
    program.client("s3").put_object_lock_configuration(Bucket="kit-evidence", ObjectLockConfiguration=lock)


CASES = {
    "trails": Case(
        programs.TRAILS,
        {"days": 30, "logging": True, "bucket": "models"},
        {"days": 60, "logging": True, "bucket": "all-models"},
        {"locked": "update", "trail": "update"},
        _trails,
        {"trail": "update", "locked": "update"},
    ),
    "storage": Case(
        programs.STORAGE,
        {"description": "models", "purpose": "models", "restrict": True, "days": 30},
        {"description": "all models", "purpose": "all models", "restrict": False, "days": 60},
        dict.fromkeys(("key", "store", "private", "old"), "update"),
        _storage,
        {"tls": "create", "versioned": "update", "key": "update"},
    ),
    "identity": Case(
        programs.IDENTITY,
        {"hours": 1, "action": "s3:GetObject", "boundary": f"{MANAGED}/ReadOnlyAccess"},
        {"hours": 2, "action": "s3:PutObject", "boundary": f"{MANAGED}/PowerUserAccess"},
        {"role": "update", "inline": "update"},
        _identity,
        {"inline": "create", "role": "update"},
    ),
    "watching": Case(
        programs.WATCHING,
        {"days": 30, "threshold": 1, "title": "Models", "value": "1"},
        {"days": 60, "threshold": 2, "title": "All models", "value": "2"},
        dict.fromkeys(("logs", "alarm", "rate", "counted", "board"), "update"),
        _watching,
        {"logs": "update", "board": "create"},
    ),
    "messages": Case(
        programs.MESSAGES,
        {"display": "Models", "raw": True, "queue": QUEUE},
        {"display": "All models", "raw": False, "queue": QUEUE},
        dict.fromkeys(("topic", "subscribed"), "update"),
        _messages,
        {"topic": "update"},
    ),
    "registry": Case(
        programs.REGISTRY,
        {"scan": True, "keep": 10},
        {"scan": False, "keep": 20},
        {"repository": "update", "kept": "replace"},
        _registry,
        {"repository": "update", "kept": "create"},
    ),
    "network": Case(
        programs.NETWORK,
        {"hostnames": True, "note": "from us", "cidr": "10.1.0.0/16"},
        {"hostnames": False, "note": "from all of us", "cidr": "10.2.0.0/16"},
        {"vpc": "update", "https": "update", "door": "update"},
        _network,
        {"https": "create", "vpc": "update"},
    ),
    "traffic": Case(
        programs.TRAFFIC,
        {"purpose": "models"},
        {"purpose": "all models"},
        {"flow": "update"},
    ),
    "planned": Case(
        programs.PLANNED,
        {"cron": "cron(0 3 * * ? *)", "amount": "100", "percent": 80},
        {"cron": "cron(0 4 * * ? *)", "amount": "200", "percent": 90},
        {"schedule": "update", "budget": "update"},
        _planned,
        {"schedule": "create"},
    ),
    "endpoints": Case(
        programs.ENDPOINTS,
        {"instances": 1, "most": 3, "target": 4},
        {"instances": 2, "most": 4, "target": 5},
        {"configuration": "replace", "endpoint": "update", "scaled": "update", "policy": "update"},
    ),
}


def test_the_life_of_each_type(make_program: MakeProgram) -> None:
    """In one stack, as each run of the engine and the program takes a second, whatever there is."""
    cases = CASES.values()
    first = "".join(case.text.format(**case.first) for case in cases)
    program = make_program()
    program.up(first)
    assert program.changes() == {}
    made = program.resources()
    assert len(made) == len(re.findall(r"\baws\.\w+\.[A-Z]\w+\(", first)), "each has a name of its own"
    program.pulumi("refresh", "--yes", "--skip-preview")
    assert program.changes() == {}
    other = "".join(case.text.format(**case.other) for case in cases)
    assert program.changes(other) == _merged(case.changes for case in cases)
    program.up()
    assert program.changes() == {}
    resources = program.resources()
    for case in cases:
        if case.drift:
            case.drift(program, resources)
    program.pulumi("refresh", "--yes", "--skip-preview")
    assert program.changes() == _merged(case.drifted for case in cases)
    program.up()
    assert program.changes() == {}
    program.pulumi("destroy", "--yes", "--skip-preview")
    assert program.resources() == {}


def _merged(changes: Iterable[dict[str, str]]) -> dict[str, str]:
    return {name: operation for each in changes for name, operation in each.items()}


def test_what_the_stand_in_does_not_set_is_refused_by_name(make_program: MakeProgram) -> None:
    program = make_program(f"""
    aws.iam.Role("role", assume_role_policy="{{}}", managed_policy_arns=["{MANAGED}/x"], opts=own)
    aws.s3.Bucket("store", versioning={{"enabled": True}}, opts=own)
    aws.kms.Key("key", is_enabled=False, opts=own)
    aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16", instance_tenancy="dedicated", opts=own)
    """)
    told = program.pulumi("up", "--yes", "--skip-preview", "--continue-on-error", refused=True)
    for named in ("managedPolicyArns", "versioning", "isEnabled", "instanceTenancy"):
        assert f"does not set {named} of" in told
    assert program.resources() == {}


def test_a_type_that_it_does_not_know_is_refused_by_name(make_program: MakeProgram) -> None:
    told = make_program().up('aws.sqs.Queue("queue", opts=own)', refused=True)
    assert "the stand-in plugin does not know the type aws:sqs/queue:Queue" in told
