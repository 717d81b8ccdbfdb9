"""Permissions that a call needs besides its own action: tags, passed roles, keys, and services that it calls."""

from collections.abc import Callable, Iterator

import jmespath

from llmops_twins.aws.calls import ApiCall
from llmops_twins.aws.judges import arns, operation_tables, s3
from llmops_twins.aws.judges.access import JudgedAction
from llmops_twins.aws.judges.account import JudgedAccount
from llmops_twins.aws.judges.context import Context, context_of, tags_of

_CREATES = ("Create", "Put", "Register")
SAGEMAKER_SCALING = "sagemaker.application-autoscaling.amazonaws.com"


def accesses_of(call: ApiCall, own: list[JudgedAction], account: JudgedAccount) -> Iterator[JudgedAction]:
    """Yields the additional accesses of a call, given its own ones."""
    yield from _tags(call, own, account)
    yield from _passed_roles(call, own, account)
    rule = _RULES.get((call.service, call.operation)) or _RULES.get((call.service, ""))
    if rule:
        yield from rule(call, account)


def service_accesses_of(call: ApiCall, account: JudgedAccount) -> Iterator[tuple[str, JudgedAction]]:
    """Yields the accesses that resource policies must grant to services for a call to succeed: (service, access)."""
    key = call.parameters.get("kmsKeyId")
    if call.service == "logs" and call.operation in ("CreateLogGroup", "AssociateKmsKey") and key:
        group = call.parameters.get("logGroupName") or call.parameters.get("resourceIdentifier", "")
        arn = f"arn:{account.partition}:logs:{call.region}:{account.id}:log-group:{group}"
        context = {"kms:EncryptionContext:aws:logs:arn": arn, "aws:SourceArn": arn, "aws:SourceAccount": account.id}
        for action in ("kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey"):
            yield f"logs.{call.region}.amazonaws.com", JudgedAction(action, account.key_arn(key, call.region), context)
    if (call.service, call.operation) == ("cloudtrail", "CreateTrail"):
        yield from _delivery_of_trail(call, account)


def _delivery_of_trail(call: ApiCall, account: JudgedAccount) -> Iterator[tuple[str, JudgedAction]]:
    """Yields what CloudTrail must be granted to deliver a trail's files, by the bucket's policy and by the key's ("S3
    bucket policy for CloudTrail" and "Configure AWS KMS key policies for CloudTrail" in CloudTrail's guide).
    """
    service, given = "cloudtrail.amazonaws.com", call.parameters
    trail = f"arn:{account.partition}:cloudtrail:{call.region}:{account.id}:trail/{given['Name']}"
    bucket = f"arn:{account.partition}:s3:::{given['S3BucketName']}"
    source: Context = {"aws:SourceArn": trail, "aws:SourceAccount": account.id}
    prefix = f"{given['S3KeyPrefix']}/" if given.get("S3KeyPrefix") else ""
    written = source | {"s3:x-amz-acl": "bucket-owner-full-control"}
    yield service, JudgedAction("s3:GetBucketAcl", bucket, source)
    yield service, JudgedAction("s3:PutObject", f"{bucket}/{prefix}AWSLogs/{account.id}/CloudTrail/any", written)
    if key := given.get("KmsKeyId"):
        context = source | {"kms:EncryptionContext:aws:cloudtrail:arn": trail}
        for action in ("kms:DescribeKey", "kms:GenerateDataKey"):
            yield service, JudgedAction(action, account.key_arn(key, call.region), context)


def _tags(call: ApiCall, own: list[JudgedAction], account: JudgedAccount) -> Iterator[JudgedAction]:
    if call.service == "ec2":
        yield from _ec2_tags(call, account)
        return
    if not own or not tags_of(call.parameters) or not call.operation.startswith(_CREATES):
        return
    of_iam = call.service == "iam"
    action = (
        operation_tables.IAM_TAGS.get(call.operation) if of_iam else operation_tables.CREATES_TAGGED.get(call.service)
    )
    if action is None:
        return
    context = context_of(call, call.service)
    resource = own[0].resource
    if call.service == "sagemaker":
        context["sagemaker:TaggingAction"] = call.operation
    if call.service == "kms":
        resource = f"arn:{account.partition}:kms:{call.region}:{account.id}:key/*"
    if call.service == "logs":
        resource = resource.partition(":log-stream:")[0]
    yield JudgedAction(action, resource, context)


def _ec2_tags(call: ApiCall, account: JudgedAccount) -> Iterator[JudgedAction]:
    base = f"arn:{account.partition}:ec2:{call.region}:{account.id}"
    for each in call.parameters.get("TagSpecifications") or []:
        tags = {tag.get("Key", ""): tag.get("Value", "") for tag in each.get("Tags", [])}
        if tags:
            context: Context = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
            context |= {"aws:TagKeys": list(tags), "ec2:CreateAction": call.operation}
            yield JudgedAction("ec2:CreateTags", f"{base}:{each['ResourceType']}/*", context)


def _passed_roles(call: ApiCall, own: list[JudgedAction], account: JudgedAccount) -> Iterator[JudgedAction]:
    expression, service = operation_tables.PASSED_ROLES.get((call.service, call.operation), ("", ""))
    if not expression:
        return
    found = jmespath.search(expression, call.parameters)
    for role in found if isinstance(found, list) else [found]:
        if role:
            arn = role if role.startswith("arn:") else account.role_arn(role)
            context: Context = {"iam:PassedToService": service}
            if own and own[0].resource != "*":
                context["iam:AssociatedResourceArn"] = own[0].resource
            yield JudgedAction("iam:PassRole", arn, context)


def _via(service: str, call: ApiCall, account: JudgedAccount, **encryption: str) -> Context:
    context: Context = {
        "kms:ViaService": f"{service}.{call.region}.amazonaws.com",
        "kms:CallerAccount": account.id,
    }
    for name, value in encryption.items():
        context[f"kms:EncryptionContext:aws:{name}"] = value
        context["kms:EncryptionContextKeys"] = [f"aws:{name}"]
    return context


def _s3_keys(call: ApiCall, account: JudgedAccount) -> Iterator[JudgedAction]:
    for action, key, named in s3.keys_of(call, account):
        context = _via("s3", call, account)
        context |= {"kms:EncryptionContext:aws:s3:arn": named, "kms:EncryptionContextKeys": ["aws:s3:arn"]}
        yield JudgedAction(action, key, context)


def _endpoint_key(call: ApiCall, account: JudgedAccount) -> Iterator[JudgedAction]:
    """Yields kms:CreateGrant on the key of the endpoint configuration: SageMaker's permissions reference requires it
    "only if the associated EndPointConfig has a KmsKeyId".
    """
    name = call.parameters.get("EndpointConfigName")
    if not name:
        return
    configuration = account.describe("sagemaker", "DescribeEndpointConfig", call.region, EndpointConfigName=name)
    if key := configuration.get("KmsKeyId"):
        context = _via("sagemaker", call, account) | {"kms:GrantIsForAWSResource": "true"}
        yield JudgedAction("kms:CreateGrant", account.key_arn(key, call.region), context)


def _deregister(call: ApiCall, account: JudgedAccount) -> Iterator[JudgedAction]:
    """Yields the removal of the endpoint's scalable targets, which DeleteEndpoint does as the caller."""
    context = {"application-autoscaling:service-namespace": "sagemaker"}
    for arn in account.scalable_targets(f"endpoint/{call.parameters['EndpointName']}", call.region):
        yield JudgedAction("application-autoscaling:DeregisterScalableTarget", arn, context)


def _register(call: ApiCall, account: JudgedAccount) -> Iterator[JudgedAction]:
    """Yields the permissions that a caller needs to register a scalable target ("Permissions required for API actions"
    in Application Auto Scaling's guide).
    """
    given = call.parameters
    if given.get("ServiceNamespace") != "sagemaker":
        return
    base = f"arn:{account.partition}:sagemaker:{call.region}:{account.id}"
    name = given["ResourceId"].split("/")[1]
    described = account.describe("sagemaker", "DescribeEndpoint", call.region, EndpointName=name)
    configuration = described.get("EndpointConfigName", "*")
    yield JudgedAction("sagemaker:DescribeEndpoint", f"{base}:endpoint/{name}")
    yield JudgedAction("sagemaker:DescribeEndpointConfig", f"{base}:endpoint-config/{configuration}")
    yield JudgedAction("sagemaker:UpdateEndpointWeightsAndCapacities", f"{base}:endpoint/{name}")
    linked = arns.linked_role(SAGEMAKER_SCALING, account)
    if not given.get("RoleARN") and account.role(linked.rpartition("/")[2]) is None:
        yield JudgedAction("iam:CreateServiceLinkedRole", linked, {"iam:AWSServiceName": SAGEMAKER_SCALING})


def _scaling_alarms(call: ApiCall, account: JudgedAccount) -> Iterator[JudgedAction]:
    """Yields the CloudWatch actions that target tracking performs as the caller on its alarms (same guide)."""
    tracks = call.parameters.get("TargetTrackingScalingPolicyConfiguration")
    if call.operation == "PutScalingPolicy" and not tracks:
        return
    resource = call.parameters.get("ResourceId", "*")
    alarms = f"arn:{account.partition}:cloudwatch:{call.region}:{account.id}:alarm:TargetTracking-{resource}-*"
    verbs = ["PutMetricAlarm", "DescribeAlarms"] if call.operation == "PutScalingPolicy" else ["DeleteAlarms"]
    for verb in verbs:
        yield JudgedAction(f"cloudwatch:{verb}", alarms)


def _repository_key(call: ApiCall, account: JudgedAccount) -> Iterator[JudgedAction]:
    """Yields the KMS actions that ECR performs as the caller to use a key ("Encryption at rest" in ECR's guide)."""
    key = (call.parameters.get("encryptionConfiguration") or {}).get("kmsKey")
    if key:
        context = _via("ecr", call, account) | {"kms:GrantIsForAWSResource": "true"}
        for action in ("kms:DescribeKey", "kms:CreateGrant"):
            yield JudgedAction(action, account.key_arn(key, call.region), context)


def _schedule_key(call: ApiCall, account: JudgedAccount) -> Iterator[JudgedAction]:
    """Yields the KMS actions that CreateSchedule and UpdateSchedule need ("customer managed keys" in EventBridge
    Scheduler's identity-based policies).
    """
    if key := call.parameters.get("KmsKeyArn"):
        group, name = call.parameters.get("GroupName", "default"), call.parameters["Name"]
        arn = f"arn:{account.partition}:scheduler:{call.region}:{account.id}:schedule/{group}/{name}"
        context = _via("scheduler", call, account) | {"kms:EncryptionContext:aws:scheduler:schedule:arn": arn}
        for action in ("kms:DescribeKey", "kms:GenerateDataKey", "kms:Decrypt"):
            yield JudgedAction(action, account.key_arn(key, call.region), context)


def _secret_key(call: ApiCall, account: JudgedAccount) -> Iterator[JudgedAction]:
    if key := call.parameters.get("KmsKeyId"):
        name = account.secret_arn(call.parameters.get("Name") or call.parameters["SecretId"], call.region)
        context = _via("secretsmanager", call, account) | {"kms:EncryptionContext:SecretARN": name}
        for action in ("kms:GenerateDataKey", "kms:Decrypt"):
            yield JudgedAction(action, account.key_arn(key, call.region), context)


def _publish_key(call: ApiCall, account: JudgedAccount) -> Iterator[JudgedAction]:
    from moto.sns.models import sns_backends

    arn = call.parameters.get("TopicArn", "")
    topic = sns_backends[account.id][call.region].topics.get(arn)
    if key := getattr(topic, "kms_master_key_id", None):
        for action in ("kms:GenerateDataKey", "kms:Decrypt"):
            context = _via("sns", call, account) | {"kms:EncryptionContext:aws:sns:topicArn": arn}
            yield JudgedAction(action, account.key_arn(key, call.region), context)


def _log_delivery(call: ApiCall, _account: JudgedAccount) -> Iterator[JudgedAction]:
    """Yields logs:CreateLogDelivery for flow logs to S3, and logs:DeleteLogDelivery for every removal ("Publish flow
    logs to Amazon S3" in the VPC guide).
    """
    verb = "Create" if call.operation == "CreateFlowLogs" else "Delete"
    if verb == "Delete" or call.parameters.get("LogDestinationType") == "s3":
        yield JudgedAction(f"logs:{verb}LogDelivery", "*")


def _session_tags(call: ApiCall, account: JudgedAccount) -> Iterator[JudgedAction]:
    if call.parameters.get("Tags"):
        yield JudgedAction("sts:TagSession", call.parameters["RoleArn"])


_RULES: dict[tuple[str, str], Callable[[ApiCall, JudgedAccount], Iterator[JudgedAction]]] = {
    ("s3", ""): _s3_keys,
    ("sagemaker", "CreateEndpoint"): _endpoint_key,
    ("sagemaker", "UpdateEndpoint"): _endpoint_key,
    ("sagemaker", "DeleteEndpoint"): _deregister,
    ("application-autoscaling", "RegisterScalableTarget"): _register,
    ("application-autoscaling", "PutScalingPolicy"): _scaling_alarms,
    ("application-autoscaling", "DeleteScalingPolicy"): _scaling_alarms,
    ("ecr", "CreateRepository"): _repository_key,
    ("scheduler", "CreateSchedule"): _schedule_key,
    ("scheduler", "UpdateSchedule"): _schedule_key,
    ("secretsmanager", "CreateSecret"): _secret_key,
    ("sns", "Publish"): _publish_key,
    ("ec2", "CreateFlowLogs"): _log_delivery,
    ("ec2", "DeleteFlowLogs"): _log_delivery,
    ("sts", "AssumeRole"): _session_tags,
}
