"""Amazon S3: defaults of new buckets since 2023, settings returned exactly as put, checked policies."""

import io
import ipaddress
import re
from typing import Any

from llmops_twins.aws.buckets import bucket_named
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.identity import policies
from llmops_twins.aws.service_documents import Document, plain, shelf
from llmops_twins.aws.services.kms import key_state
from llmops_twins.aws.twin import AccountTwin

_NAME = re.compile(r"^(?!xn--|sthree-|amzn-s3-demo-)(?!.*\.\.)(?!.*-s3alias$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_EVERYWHERE = "aws"  # bucket names are global
_BLOCK = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), "true")
_SSE_S3 = {"Rule": {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": "false"}}
_WRITES = ("PutObject", "CopyObject", "CreateMultipartUpload")
_OWNER_ONLY = "BucketOwnerEnforced"


def install(twin: AccountTwin) -> None:
    """Corrects moto's S3 to match https://docs.aws.amazon.com/AmazonS3/latest/API/Welcome.html."""
    _leave_policies_to_the_judge()
    _list_without_contents()
    s3 = _S3(twin)
    twin.before("s3", "CreateBucket", s3.refuse_bad_name)
    twin.after("s3", "CreateBucket", s3.begin)
    twin.after("s3", "DeleteBucket", s3.forget)
    twin.before("s3", "PutBucketPolicy", s3.refuse_bad_policy)
    twin.before("s3", "PutBucketAcl", s3.refuse_acl)
    for operation in _WRITES:
        twin.before("s3", operation, s3.refuse_object_acl)
        twin.before("s3", operation, s3.refuse_unusable_key)
    twin.before("s3", "GetObject", s3.refuse_unreadable)
    twin.before("s3", "GetObject", s3.refuse_deleted)
    twin.after("s3", "DeleteBucketEncryption", s3.encrypt_by_default)
    twin.after("s3", "PutBucketLifecycleConfiguration", s3.keep_lifecycle)
    twin.mend("s3", "GetBucketLifecycleConfiguration", s3.give_lifecycle)
    twin.after("s3", "DeleteBucketLifecycle", s3.drop_lifecycle)
    twin.before("s3", "PutBucketNotificationConfiguration", s3.refuse_missing_destination)
    twin.after("s3", "PutBucketNotificationConfiguration", s3.keep_notification)
    twin.after("s3", "PutBucketLogging", s3.keep_logging)
    twin.mend("s3", "GetBucketLogging", s3.give_logging)
    twin.implement("s3", "GetBucketNotificationConfiguration", s3.notification)
    twin.implement("s3", "GetBucketRequestPayment", s3.request_payment)


class _S3:
    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def refuse_bad_name(self, call: ApiCall) -> None:
        name = call.parameters["Bucket"]
        if not _NAME.match(name) or _is_address(name):
            raise AwsApiError("InvalidBucketName", "The specified bucket is not valid.")

    def begin(self, call: ApiCall, _answer: Document) -> None:
        bucket = self._bucket(call)
        if bucket.encryption is None:
            bucket.encryption = _SSE_S3
        if bucket.public_access_block is None:
            from moto.s3.models import PublicAccessBlock

            bucket.public_access_block = PublicAccessBlock(*_BLOCK.values())
        if bucket.ownership_rule is None:
            bucket.ownership_rule = _OWNER_ONLY

    def forget(self, call: ApiCall, _answer: Document) -> None:
        for kind in ("lifecycle", "notification", "logging"):
            self._shelf(kind).pop(call.parameters["Bucket"], None)

    def refuse_bad_policy(self, call: ApiCall) -> None:
        text = call.parameters["Policy"]
        try:
            found = policies.resource_statements(text)
        except ValueError as e:
            raise AwsApiError("MalformedPolicy", "Policies must be valid JSON and the first byte must be '{'") from e
        bucket = call.parameters["Bucket"]
        for statement in found:
            named = statement.get("Resource", statement.get("NotResource", []))
            named = [named] if isinstance(named, str) else named
            if not named:
                raise AwsApiError("MalformedPolicy", "Missing required field Resource")
            own = f"arn:aws:s3:::{bucket}"
            if not all(resource == own or resource.startswith(f"{own}/") or resource == "*" for resource in named):
                raise AwsApiError("MalformedPolicy", "Policy has invalid resource")
        if any(policies.missing_principals(self._twin, found)):
            raise AwsApiError("MalformedPolicy", "Invalid principal in policy")
        block = getattr(bucket_named(self._twin, bucket), "public_access_block", None)
        if block is not None and str(block.block_public_policy).lower() == "true" and policies.is_public(found):
            who = call.principal or "anonymous"
            reason = "because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access."
            resource = f'"arn:aws:s3:::{bucket}"'
            text = f"User: {who} is not authorized to perform: s3:PutBucketPolicy on resource: {resource} {reason}"
            raise AwsApiError("AccessDenied", text, 403)

    def refuse_acl(self, call: ApiCall) -> None:
        self._refuse_acl(call, call.parameters.get("ACL"))

    def refuse_object_acl(self, call: ApiCall) -> None:
        acl = call.parameters.get("ACL")
        if acl and acl != "bucket-owner-full-control":
            self._refuse_acl(call, acl)

    def _refuse_acl(self, call: ApiCall, _acl: str | None) -> None:
        bucket = bucket_named(self._twin, call.parameters["Bucket"])
        if bucket is not None and _ownership(bucket) == _OWNER_ONLY:
            raise AwsApiError("AccessControlListNotSupported", "The bucket does not allow ACLs")

    def refuse_unusable_key(self, call: ApiCall) -> None:
        self._refuse_key(call.parameters.get("SSEKMSKeyId") or self._default_key(call))

    def refuse_unreadable(self, call: ApiCall) -> None:
        """Refuses to read an object whose encryption key is unusable."""
        bucket = bucket_named(self._twin, call.parameters["Bucket"])
        found = bucket.keys.get(call.parameters["Key"]) if bucket is not None else None
        if found is not None and getattr(found, "encryption", None) == "aws:kms":
            self._refuse_key(found.kms_key_id)

    def refuse_deleted(self, call: ApiCall) -> None:
        """https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html"""
        from moto.s3.models import FakeDeleteMarker

        bucket = bucket_named(self._twin, call.parameters["Bucket"])
        version, key = call.parameters.get("VersionId"), call.parameters["Key"]
        versions = bucket.keys.getlist(key, []) if bucket is not None else []
        found = [each for each in versions if version in (None, each.version_id)][-1:]
        if not found or not isinstance(found[0], FakeDeleteMarker):
            return
        headers = {"x-amz-delete-marker": "true", "x-amz-version-id": found[0].version_id}
        if version is None:
            raise AwsApiError("NoSuchKey", "The specified key does not exist.", 404, Key=key, headers=headers)
        text = "The specified method is not allowed against this resource."
        raise AwsApiError("MethodNotAllowed", text, 405, Method="GET", ResourceType="DeleteMarker", headers=headers)

    def _refuse_key(self, arn: str | None) -> None:
        if not arn or not arn.startswith("arn:aws:kms:"):
            return
        state = key_state(self._twin, arn)
        if state is None:
            raise AwsApiError("KMS.NotFoundException", f"Key '{arn}' does not exist")
        if state == "Disabled":
            raise AwsApiError("KMS.DisabledException", f"{arn} is disabled.")
        if state != "Enabled":
            raise AwsApiError("KMS.KMSInvalidStateException", f"{arn} is pending deletion.")

    def _default_key(self, call: ApiCall) -> str:
        if call.parameters.get("ServerSideEncryption") == "AES256":
            return ""
        bucket = bucket_named(self._twin, call.parameters["Bucket"])
        rule = (getattr(bucket, "encryption", None) or {}).get("Rule", {})
        rule = rule[0] if isinstance(rule, list) else rule
        return rule.get("ApplyServerSideEncryptionByDefault", {}).get("KMSMasterKeyID", "")

    def encrypt_by_default(self, call: ApiCall, _answer: Document) -> None:
        self._bucket(call).encryption = _SSE_S3

    def keep_lifecycle(self, call: ApiCall, _answer: Document) -> None:
        rules = plain(call.parameters.get("LifecycleConfiguration", {}).get("Rules", []))
        size = call.parameters.get("TransitionDefaultMinimumObjectSize", "all_storage_classes_128K")
        for rule in rules:
            rule.setdefault("ID", f"rule-{rules.index(rule) + 1}")
        self._shelf("lifecycle")[call.parameters["Bucket"]] = {"rules": rules, "size": size}

    def give_lifecycle(self, call: ApiCall, answer: Document) -> None:
        kept = self._shelf("lifecycle").get(call.parameters["Bucket"])
        if kept:
            answer.update(Rules=kept["rules"], TransitionDefaultMinimumObjectSize=kept["size"])

    def drop_lifecycle(self, call: ApiCall, _answer: Document) -> None:
        self._shelf("lifecycle").pop(call.parameters["Bucket"], None)

    def refuse_missing_destination(self, call: ApiCall) -> None:
        configuration = call.parameters.get("NotificationConfiguration") or {}
        for kind, member in (("TopicConfigurations", "TopicArn"), ("QueueConfigurations", "QueueArn")):
            for entry in configuration.get(kind, []):
                if not _destination_exists(self._twin, entry[member]):
                    raise AwsApiError("InvalidArgument", "Unable to validate the following destination configurations")

    def keep_notification(self, call: ApiCall, _answer: Document) -> None:
        configuration = plain(call.parameters.get("NotificationConfiguration") or {})
        for kind in ("TopicConfigurations", "QueueConfigurations", "LambdaFunctionConfigurations"):
            for position, entry in enumerate(configuration.get(kind, [])):
                entry.setdefault("Id", f"{kind[0].lower()}-{position}")
        self._shelf("notification")[call.parameters["Bucket"]] = configuration

    def keep_logging(self, call: ApiCall, _answer: Document) -> None:
        enabled = plain(call.parameters.get("BucketLoggingStatus", {}).get("LoggingEnabled") or {})
        self._shelf("logging")[call.parameters["Bucket"]] = enabled

    def give_logging(self, call: ApiCall, answer: Document) -> None:
        kept = self._shelf("logging").get(call.parameters["Bucket"])
        if kept:
            answer["LoggingEnabled"] = kept

    def notification(self, call: ApiCall) -> Document:
        self._bucket(call)
        return self._shelf("notification").get(call.parameters["Bucket"], {})

    def request_payment(self, call: ApiCall) -> Document:
        return {
            "Payer": self._bucket(call).request_payer if hasattr(self._bucket(call), "request_payer") else "BucketOwner"
        }

    def _bucket(self, call: ApiCall) -> Any:
        name = call.parameters["Bucket"]
        bucket = bucket_named(self._twin, name)
        if bucket is None:
            raise AwsApiError("NoSuchBucket", "The specified bucket does not exist", 404, BucketName=name)
        return bucket

    def _shelf(self, kind: str) -> dict[str, Document]:
        return shelf(self._twin, "s3", kind, _EVERYWHERE)


def _list_without_contents() -> None:
    """Makes moto copy objects without their content when it lists versions: contents may be gigabytes, or gone."""
    from moto.s3.models import FakeKey

    def copied(self: FakeKey, _memo: Any) -> FakeKey:
        copy = object.__new__(type(self))
        etag = self.etag.strip('"')  # computes it for the original too, once
        # `disposed`, and without `multipart`: when the copy is finalised, the original's content must stay.
        vars(copy).update(vars(self) | {"_etag": etag, "_value_buffer": io.BytesIO(), "multipart": None})
        copy.disposed = True
        return copy

    setattr(FakeKey, "__deepcopy__", copied)  # noqa: B010


def _leave_policies_to_the_judge() -> None:
    """Disables moto's evaluation of bucket policies, which ignores conditions: a policy that denies plain HTTP would
    deny everything.
    """
    from moto.iam.access_control import PermissionResult
    from moto.s3.models import FakeBucket

    def get_permission(self: FakeBucket, action: str, resource: str) -> PermissionResult:
        return PermissionResult.NEUTRAL

    FakeBucket.get_permission = get_permission


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _ownership(bucket: Any) -> str:
    rule = bucket.ownership_rule
    if isinstance(rule, dict):
        rules = rule.get("Rule", rule)
        rule = rules.get("ObjectOwnership", "") if isinstance(rules, dict) else rules
    return rule or ""


def _destination_exists(twin: AccountTwin, arn: str) -> bool:
    from moto.sns.models import sns_backends
    from moto.sqs.models import sqs_backends

    _, _, service, region, _, name = arn.split(":", 5)
    if service == "sns":
        return arn in sns_backends[twin.account][region].topics
    return name in sqs_backends[twin.account][region].queues
