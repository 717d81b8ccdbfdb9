"""ARNs that an operation's parameters don't contain literally, service by service.

Each function returns the ARNs on which an action of its service is judged; None falls back to the patterns of the
Service Authorization Reference.
"""

import re
from collections.abc import Callable

from llmops_twins.aws.calls import ApiCall
from llmops_twins.aws.judges import operation_tables
from llmops_twins.aws.judges.account import JudgedAccount

_LOG_GROUP_TAGS = {"TagResource", "UntagResource", "ListTagsForResource"}


def of(service: str, call: ApiCall, account: JudgedAccount) -> list[str] | None:
    """Returns the ARNs of a call's own action; None if its service has no function here."""
    special = _SPECIAL.get(service)
    return special(call, account) if special else None


def linked_role(service: str, account: JudgedAccount) -> str:
    """Returns the ARN of a service-linked role, which IAM checks when the role is created."""
    name = _LINKED_ROLES.get(service, "*")
    return f"arn:{account.partition}:iam::{account.id}:role/aws-service-role/{service}/{name}"


_LINKED_ROLES = {
    "sagemaker.application-autoscaling.amazonaws.com": "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint",
}


def _iam(call: ApiCall, account: JudgedAccount) -> list[str] | None:
    given = call.parameters
    if "PolicyArn" in given and not {"RoleName", "UserName", "GroupName"} & given.keys():
        return [given["PolicyArn"]]
    base = f"arn:{account.partition}:iam::{account.id}"
    path = given.get("Path", "/")
    if call.operation == "CreateServiceLinkedRole":
        return [linked_role(given["AWSServiceName"], account)]
    if call.operation.endswith("InstanceProfile") and "InstanceProfileName" in given:
        return [f"{base}:instance-profile{path}{given['InstanceProfileName']}"]
    if "RoleName" in given:
        return [account.role_arn(given["RoleName"], path)]
    if "GroupName" in given and "UserName" not in given:
        return [f"{base}:group{path}{given['GroupName']}"]
    if "UserName" in given:
        return [account.user_arn(given["UserName"], path)]
    if call.operation == "CreatePolicy":
        return [f"{base}:policy{path}{given['PolicyName']}"]
    if call.operation == "CreateOpenIDConnectProvider":
        return [f"{base}:oidc-provider/{given['Url'].partition('://')[2]}"]
    if "PolicySourceArn" in given:
        return [given["PolicySourceArn"]]
    return [call.principal] if call.operation in ("GetUser", "CreateAccessKey", "ListAccessKeys") else None


def _kms(call: ApiCall, account: JudgedAccount) -> list[str] | None:
    given = call.parameters
    if call.operation in ("CreateAlias", "UpdateAlias", "DeleteAlias"):
        name = given["AliasName"]
        alias = f"arn:{account.partition}:kms:{call.region}:{account.id}:{name}"
        keys = [account.key_arn(given["TargetKeyId"], call.region)] if "TargetKeyId" in given else []
        if call.operation != "CreateAlias":
            keys.append(account.key_arn(name, call.region))
        return [alias, *keys]
    if "KeyId" in given:
        return [account.key_arn(given["KeyId"], call.region)]
    if "CiphertextBlob" in given:  # the ciphertext contains the id of its key
        return [f"arn:{account.partition}:kms:{call.region}:{account.id}:key/{_key_of(given['CiphertextBlob'])}"]
    return None


def _key_of(blob: object) -> str:
    """Returns the id of a ciphertext's key, with which moto's ciphertext begins, as `kms.utils` writes it."""
    data = blob if isinstance(blob, bytes) else b""
    found = re.match(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32}", data)
    return found[0].decode() if found else "*"


def _logs(call: ApiCall, account: JudgedAccount) -> list[str] | None:
    """Returns the ARNs of a call's log groups: `log-group:NAME:log-stream:…`, or the group itself for tagging, as in
    CloudWatch's guide.
    """
    given = call.parameters
    base = f"arn:{account.partition}:logs:{call.region}:{account.id}:log-group:"
    if call.operation in _LOG_GROUP_TAGS and (arn := given.get("resourceArn", "")).startswith(base):
        return [arn.removesuffix(":*")]
    names = given.get("logGroupNames") or given.get("logGroupIdentifiers") or []
    name = given.get("logGroupName") or given.get("logGroupIdentifier")
    groups = [each.removeprefix(base).removesuffix(":*") for each in ([name] if name else names)]
    if not groups and call.operation == "DescribeMetricFilters":
        groups = [""]
    return [f"{base}{group}:log-stream:{given.get('logStreamName', '')}" for group in groups] or None


def _events(call: ApiCall, account: JudgedAccount) -> list[str] | None:
    given = call.parameters
    rule = given.get("Rule") or (given.get("Name") if call.operation.endswith("Rule") else None)
    if not rule:
        return None
    bus = given.get("EventBusName", "default").rpartition("/")[2]
    name = rule if bus == "default" else f"{bus}/{rule}"
    return [f"arn:{account.partition}:events:{call.region}:{account.id}:rule/{name}"]


def _scheduler(call: ApiCall, account: JudgedAccount) -> list[str] | None:
    given = call.parameters
    base = f"arn:{account.partition}:scheduler:{call.region}:{account.id}"
    if call.operation.endswith("ScheduleGroup"):
        return [f"{base}:schedule-group/{given['Name']}"]
    if "Name" in given:
        return [f"{base}:schedule/{given.get('GroupName', 'default')}/{given['Name']}"]
    return None


def _autoscaling(call: ApiCall, account: JudgedAccount) -> list[str] | None:
    if "ResourceId" not in call.parameters:
        return None
    base = f"arn:{account.partition}:application-autoscaling:{call.region}:{account.id}:scalable-target/"
    return account.scalable_targets(call.parameters["ResourceId"], call.region) or [f"{base}*"]


def _ec2(call: ApiCall, account: JudgedAccount) -> list[str] | None:
    base = f"arn:{account.partition}:ec2:{call.region}:{account.id}"
    if call.operation == "DisassociateRouteTable":  # the association has the route table and the subnet
        return [f"{base}:{each}" for each in account.associated(call.parameters["AssociationId"], call.region)]
    ids = call.parameters.get("Resources" if call.operation in ("CreateTags", "DeleteTags") else "ResourceIds", [])
    found = [f"{base}:{operation_tables.EC2_IDS.get(each.partition('-')[0], '*')}/{each}" for each in ids]
    return [f"{base}:vpc-flow-log/*", *found] if call.operation == "CreateFlowLogs" else found


def _secretsmanager(call: ApiCall, account: JudgedAccount) -> list[str] | None:
    name = call.parameters.get("SecretId") or call.parameters.get("Name")
    return [account.secret_arn(name, call.region)] if name else None


def _sqs(call: ApiCall, account: JudgedAccount) -> list[str] | None:
    url = call.parameters.get("QueueUrl")
    return [f"arn:{account.partition}:sqs:{call.region}:{account.id}:{url.rpartition('/')[2]}"] if url else None


def _sns(call: ApiCall, account: JudgedAccount) -> list[str] | None:
    subscription = call.parameters.get("SubscriptionArn")
    return [subscription.rpartition(":")[0]] if subscription else None


def _ssm(call: ApiCall, account: JudgedAccount) -> list[str] | None:
    given = call.parameters
    names = given.get("Names") or [name for name in [given.get("Name"), given.get("Path")] if name]
    base = f"arn:{account.partition}:ssm:{call.region}:{account.id}:parameter/"
    return [base + name.lstrip("/") for name in names] or None


def _sagemaker(call: ApiCall, account: JudgedAccount) -> list[str] | None:
    given = call.parameters
    base = f"arn:{account.partition}:sagemaker:{call.region}:{account.id}"
    if call.operation == "CreateModelPackage":
        group = given.get("ModelPackageGroupName", "").rpartition("/")[2]
        return [f"{base}:model-package/{f'{group}/*' if group else given.get('ModelPackageName', '*')}"]
    if call.operation in ("DescribeModelPackageGroup", "DeleteModelPackageGroup", "CreateModelPackageGroup"):
        return [f"{base}:model-package-group/{given['ModelPackageGroupName'].rpartition('/')[2]}"]
    if call.operation in ("CreateTrainingJob", "InvokeEndpoint", "InvokeEndpointWithResponseStream"):
        kind, name = ("training-job", "TrainingJobName") if "TrainingJobName" in given else ("endpoint", "EndpointName")
        return [f"{base}:{kind}/{given[name]}"]
    return None


_SPECIAL: dict[str, Callable[[ApiCall, JudgedAccount], list[str] | None]] = {
    "iam": _iam,
    "kms": _kms,
    "logs": _logs,
    "events": _events,
    "scheduler": _scheduler,
    "application-autoscaling": _autoscaling,
    "ec2": _ec2,
    "secretsmanager": _secretsmanager,
    "sqs": _sqs,
    "sns": _sns,
    "ssm": _ssm,
    "sagemaker": _sagemaker,
}
