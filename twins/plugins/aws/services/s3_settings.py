"""S3: the settings of a bucket that are resources of their own."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twins.plugins.aws.calls import AwsError, Gone, Work
from twins.plugins.aws.kinds import Kind, picked
from twins.plugins.plugin import ProviderError

NO_BUCKET = ("NoSuchBucket", "404", "NotFound")
PASSING = ("NoSuchBucket", "OperationAborted")


@dataclass(frozen=True)
class Setting(Kind):
    """A setting of a bucket, whole: put, read and taken away by one call each. The id is the bucket's."""

    absent: Gone = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "gone", (*NO_BUCKET, *self.absent))

    def make(self, work: Work) -> tuple[str, dict[str, Any]]:
        self.call_create(work)
        owner = work.inputs.get("expectedBucketOwner")
        work.id = f"{work.inputs['bucket']},{owner}" if owner else work.inputs["bucket"]
        return work.id, self.state_after(work)

    def parameters(self, work: Work, operation: str) -> dict[str, Any]:
        found = super().parameters(work, operation)
        return {**found, **self._place(work)}

    def call_read(self, work: Work) -> dict[str, Any] | None:
        answer = picked(work.call("s3", self.read, **self._place(work)), self.pick)
        return answer or None

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        place = self._place(work)
        owner = place.get("ExpectedBucketOwner")
        found = super().properties_of(work, answer)
        return {**found, "bucket": place["Bucket"], **({"expectedBucketOwner": owner} if owner else {})}

    def call_delete(self, work: Work) -> None:
        work.call("s3", self.delete, retry=("OperationAborted",), **self._place(work))

    def call_update(self, work: Work) -> None:
        try:
            work.call("s3", self.update, retry=self.retry, **self.parameters(work, self.update))
        except ProviderError as error:
            raise ProviderError(f"updating {self.label} ({work.id}): {error}") from None

    @staticmethod
    def _place(work: Work) -> dict[str, str]:
        bucket, _, owner = work.id.partition(",")
        bucket, owner = bucket or work.inputs["bucket"], owner or work.inputs.get("expectedBucketOwner", "")
        return {"Bucket": bucket, **({"ExpectedBucketOwner": owner} if owner else {})}


class Versioning(Setting):
    """Versioning can't be taken away, only suspended; a bucket that never had it says nothing."""

    def call_create(self, work: Work) -> dict[str, Any]:
        if work.inputs["versioningConfiguration"].get("status") == "Disabled":
            return {}
        return super().call_create(work)

    def refused_change(self, state: dict[str, Any], news: dict[str, Any]) -> str:
        old, new = ((p.get("versioningConfiguration") or {}).get("status", "") for p in (state, news))
        if old in ("Enabled", "Suspended") and new == "Disabled":
            return f"versioning_configuration.status cannot be updated from '{old}' to '{new}'"
        return ""

    def call_read(self, work: Work) -> dict[str, Any] | None:
        answer = work.call("s3", "GetBucketVersioning", **self._place(work))
        return {"VersioningConfiguration": {"Status": "Disabled", **answer}}

    def call_delete(self, work: Work) -> None:
        if (work.state.get("versioningConfiguration") or {}).get("status") == "Disabled":
            return
        try:
            status = {"Status": "Suspended"}
            work.call("s3", "PutBucketVersioning", **self._place(work), VersioningConfiguration=status)
        except AwsError as error:
            if not error.is_one_of(("InvalidBucketState",)):
                raise

    def readable(self, work: Work) -> set[str]:
        return {"bucket", "expectedBucketOwner", "versioningConfiguration"}


class Kept(Setting):
    """A setting that may stay in AWS when it leaves the stack."""

    def call_delete(self, work: Work) -> None:
        if not work.state.get("skipDestroy"):
            super().call_delete(work)


class Lifecycle(Setting):
    """A rule without a filter is sent with an empty one."""

    def parameters(self, work: Work, operation: str) -> dict[str, Any]:
        found = super().parameters(work, operation)
        for rule in found["LifecycleConfiguration"]["Rules"]:
            if "Prefix" not in rule:
                rule.setdefault("Filter", {"Prefix": ""})
                if not rule["Filter"]:
                    rule["Filter"] = {"Prefix": ""}
        return found


class Logging(Setting):
    """Access logs: off reads as not there, and taking them away is an empty status."""

    def call_delete(self, work: Work) -> None:
        work.call("s3", "PutBucketLogging", **self._place(work), BucketLoggingStatus={})


class Notification(Setting):
    """All notifications of a bucket."""

    def parameters(self, work: Work, operation: str) -> dict[str, Any]:
        configuration: dict[str, Any] = {}
        for name, (member, arn) in NOTIFIED.items():
            for item in work.inputs.get(name) or []:
                rules = [{"Name": n, "Value": item[k]} for n, k in FILTERS.items() if item.get(k)]
                known = {
                    "Id": item.get("id") or f"tf-s3-{name.rstrip('s')}-{secrets.token_hex(8)}",
                    arn[1]: item[arn[0]],
                }
                known["Events"] = item["events"]
                if rules:
                    known["Filter"] = {"Key": {"FilterRules": rules}}
                configuration.setdefault(member, []).append(known)
        if work.inputs.get("eventbridge"):
            configuration["EventBridgeConfiguration"] = {}
        return {**self._place(work), "NotificationConfiguration": configuration}

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"bucket": work.id, "eventbridge": "EventBridgeConfiguration" in answer}
        for name, (member, arn) in NOTIFIED.items():
            items = []
            for told in answer.get(member, []):
                rules = told.get("Filter", {}).get("Key", {}).get("FilterRules", [])
                values = {r["Name"].lower(): r["Value"] for r in rules}
                item = {"id": told.get("Id"), arn[0]: told[arn[1]], "events": told["Events"]}
                items.append(item | {k: values[n] for n, k in FILTERS.items() if n in values})
            if items:
                found[name] = items
        return found

    def call_delete(self, work: Work) -> None:
        work.call("s3", "PutBucketNotificationConfiguration", **self._place(work), NotificationConfiguration={})

    def readable(self, work: Work) -> set[str]:
        return {"bucket", "eventbridge", *NOTIFIED}


NOTIFIED: Mapping[str, tuple[str, tuple[str, str]]] = {
    "topics": ("TopicConfigurations", ("topicArn", "TopicArn")),
    "queues": ("QueueConfigurations", ("queueArn", "QueueArn")),
    "lambdaFunctions": ("LambdaFunctionConfigurations", ("lambdaFunctionArn", "LambdaFunctionArn")),
}
FILTERS = {"prefix": "filterPrefix", "suffix": "filterSuffix"}


def _setting(
    token: str, label: str, put: str, get: str, delete: str, kind: type[Setting] = Setting, **more: Any
) -> Setting:
    name = token[0].lower() + token[1:]
    return kind(
        f"aws:s3/{name}:{token}",
        "s3",
        label,
        "{bucket}",
        create=put,
        read=get,
        update=put,
        delete=delete,
        retry=(*PASSING, "MalformedPolicy"),
        **more,
    )


KINDS = (
    _setting(
        "BucketVersioning",
        "S3 Bucket Versioning",
        "PutBucketVersioning",
        "GetBucketVersioning",
        "PutBucketVersioning",
        Versioning,
        unread=("mfa",),
    ),
    _setting(
        "BucketPublicAccessBlock",
        "S3 Bucket Public Access Block",
        "PutPublicAccessBlock",
        "GetPublicAccessBlock",
        "DeletePublicAccessBlock",
        Kept,
        wrap="PublicAccessBlockConfiguration",
        pick="PublicAccessBlockConfiguration",
        absent=("NoSuchPublicAccessBlockConfiguration",),
    ),
    _setting(
        "BucketServerSideEncryptionConfiguration",
        "S3 Bucket Server-side Encryption Configuration",
        "PutBucketEncryption",
        "GetBucketEncryption",
        "DeleteBucketEncryption",
        wrap="ServerSideEncryptionConfiguration",
        pick="ServerSideEncryptionConfiguration",
        renames={
            "rules[].applyServerSideEncryptionByDefault.kmsMasterKeyId": "KMSMasterKeyID",
            "rules[].applyServerSideEncryptionByDefault.sseAlgorithm": "SSEAlgorithm",
            "rules[].blockedEncryptionTypes": "-",
        },
        absent=("ServerSideEncryptionConfigurationNotFoundError",),
    ),
    _setting(
        "BucketLifecycleConfiguration",
        "S3 Bucket Lifecycle Configuration",
        "PutBucketLifecycleConfiguration",
        "GetBucketLifecycleConfiguration",
        "DeleteBucketLifecycle",
        Lifecycle,
        wrap="LifecycleConfiguration",
        absent=("NoSuchLifecycleConfiguration",),
    ),
    _setting(
        "BucketPolicy",
        "S3 Bucket Policy",
        "PutBucketPolicy",
        "GetBucketPolicy",
        "DeleteBucketPolicy",
        absent=("NoSuchBucketPolicy",),
    ),
    _setting(
        "BucketOwnershipControls",
        "S3 Bucket Ownership Controls",
        "PutBucketOwnershipControls",
        "GetBucketOwnershipControls",
        "DeleteBucketOwnershipControls",
        wrap="OwnershipControls",
        pick="OwnershipControls",
        absent=("OwnershipControlsNotFoundError",),
    ),
    _setting(
        "BucketLogging",
        "S3 Bucket Logging",
        "PutBucketLogging",
        "GetBucketLogging",
        "PutBucketLogging",
        Logging,
        wrap="BucketLoggingStatus.LoggingEnabled",
        pick="LoggingEnabled",
    ),
    _setting(
        "BucketNotification",
        "S3 Bucket Notification",
        "PutBucketNotificationConfiguration",
        "GetBucketNotificationConfiguration",
        "PutBucketNotificationConfiguration",
        Notification,
    ),
)
