"""S3: buckets and the settings that are resources of their own."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twins.providers.aws.calls import AwsError, Gone, Work
from twins.providers.aws.kinds import MINUTE, Kind, picked
from twins.providers.aws.translate import from_api, map_of, pairs_of
from twins.providers.base import ProviderError

NO_BUCKET = ("NoSuchBucket", "404", "NotFound")
PASSING = ("NoSuchBucket", "OperationAborted")
ELSEWHERE = (
    "accelerationStatus",
    "acl",
    "corsRules",
    "grants",
    "lifecycleRules",
    "logging",
    "objectLockConfiguration",
    "replicationConfiguration",
    "requestPayer",
    "website",
)
"""Settings of a bucket, deprecated as such, that the stand-in does not make."""
READS: tuple[tuple[str, Gone], ...] = (
    ("GetBucketPolicy", ("NoSuchBucketPolicy",)),
    ("GetBucketAcl", ()),
    ("GetBucketCors", ("NoSuchCORSConfiguration",)),
    ("GetBucketWebsite", ("NoSuchWebsiteConfiguration",)),
    ("GetBucketVersioning", ()),
    ("GetBucketAccelerateConfiguration", ()),
    ("GetBucketRequestPayment", ()),
    ("GetBucketLogging", ()),
    ("GetBucketLifecycleConfiguration", ("NoSuchLifecycleConfiguration",)),
    ("GetBucketReplication", ("ReplicationConfigurationNotFoundError",)),
    ("GetBucketEncryption", ("ServerSideEncryptionConfigurationNotFoundError",)),
    ("GetObjectLockConfiguration", ("ObjectLockConfigurationNotFoundError",)),
)
"""What the real plugin reads of every bucket, and so what a deployer must be allowed to read."""
ZONES = {
    "us-east-1": "Z3AQBSTGFJSTF",
    "us-east-2": "Z2O1EMRO9K5GLX",
    "us-west-1": "Z2F56UZL2M1ACD",
    "us-west-2": "Z3BJ6K6RIION7M",
    "eu-central-1": "Z21DNDUVLTQW6Q",
    "eu-west-1": "Z1BKCTXD74EZPE",
    "eu-west-2": "Z3GKZC51ZF0DB4",
    "eu-west-3": "Z3R1K369G5AVDG",
    "eu-north-1": "Z3BAZG2TWCNX0D",
    "ap-northeast-1": "Z2M4EHUR26P7ZW",
    "ap-southeast-1": "Z3O0J2DXBE1FTB",
    "ap-southeast-2": "Z1WCIGYICN2BYD",
}
"""Route 53's zone of each region's S3 websites (AWS General Reference, S3 endpoints)."""


class Bucket(Kind):
    """A bucket."""

    def call_create(self, work: Work) -> dict[str, Any]:
        _refuse_elsewhere(work)
        name = work.inputs.get("bucket") or f"{work.inputs.get('bucketPrefix') or 'terraform-'}{secrets.token_hex(13)}"
        work.inputs["bucket"] = name
        parameters: dict[str, Any] = {"Bucket": name}
        if work.region != "us-east-1":
            parameters["CreateBucketConfiguration"] = {"LocationConstraint": work.region}
        elif _exists(work, name):
            raise ProviderError(f"creating S3 Bucket ({name}): BucketAlreadyExists")
        if work.inputs.get("objectLockEnabled"):
            parameters["ObjectLockEnabledForBucket"] = True
        try:
            return work.call("s3", "CreateBucket", retry=("OperationAborted",), **parameters)
        except ProviderError as error:
            raise ProviderError(f"creating S3 Bucket ({name}): {error}") from None

    def complete(self, work: Work, answer: dict[str, Any]) -> None:
        work.wait(lambda: _exists(work, work.id), 20 * MINUTE, f"S3 Bucket ({work.id}) create")
        if work.inputs.get("tagsAll"):
            _put_tags(work, work.inputs["tagsAll"])
        self._put_settings(work, {"policy", "versioning", "serverSideEncryptionConfiguration"})

    def find(self, work: Work) -> dict[str, Any] | None:
        if not _exists(work, work.id):
            return None
        told = {operation: _get(work, operation, absent) for operation, absent in READS}
        region, name = work.region, work.id
        found: dict[str, Any] = {
            "bucket": name,
            "arn": f"arn:{work.session.partition}:s3:::{name}",
            "bucketDomainName": f"{name}.s3.amazonaws.com",
            "bucketRegionalDomainName": f"{name}.s3.{region}.amazonaws.com",
            "bucketRegion": region,
            "hostedZoneId": ZONES.get(region, ""),
            "objectLockEnabled": bool(told["GetObjectLockConfiguration"]),
            "requestPayer": told["GetBucketRequestPayment"].get("Payer", "BucketOwner"),
            "versioning": {
                "enabled": told["GetBucketVersioning"].get("Status") == "Enabled",
                "mfaDelete": told["GetBucketVersioning"].get("MFADelete") == "Enabled",
            },
            "tagsAll": _tags(work),
        }
        if told["GetBucketPolicy"].get("Policy"):
            found["policy"] = told["GetBucketPolicy"]["Policy"]
        encryption = told["GetBucketEncryption"].get("ServerSideEncryptionConfiguration", {}).get("Rules")
        if encryption:
            shapes = {"rule": work.rules.inputs["serverSideEncryptionConfiguration"]["rule"]}
            found["serverSideEncryptionConfiguration"] = from_api({"Rules": encryption}, shapes, {})
        return found

    def readable(self, work: Work) -> set[str]:
        return {"bucket", "tagsAll", "policy", "versioning", "serverSideEncryptionConfiguration", *work.rules.outputs}

    def change(self, work: Work) -> dict[str, Any]:
        _refuse_elsewhere(work)
        if "tagsAll" in work.changed:
            _put_tags(work, work.inputs.get("tagsAll") or {})
        self._put_settings(work, set(work.changed))
        return self.state_after(work)

    def remove(self, work: Work) -> None:
        try:
            self._delete(work)
        except AwsError as error:
            if error.is_one_of(NO_BUCKET):
                return
            raise ProviderError(f"deleting S3 Bucket ({work.id}): {error}") from None
        work.wait(lambda: not _exists(work, work.id), 60 * MINUTE, f"S3 Bucket ({work.id}) delete")

    def id_after_create(self, work: Work, answer: dict[str, Any]) -> str:
        return work.inputs["bucket"]

    def _delete(self, work: Work) -> None:
        try:
            work.call("s3", "DeleteBucket", Bucket=work.id)
        except AwsError as error:
            if not error.is_one_of(("BucketNotEmpty",)) or not work.state.get("forceDestroy"):
                raise
            _empty(work)
            work.call("s3", "DeleteBucket", Bucket=work.id)

    @staticmethod
    def _put_settings(work: Work, names: set[str]) -> None:
        given = work.inputs
        if "policy" in names and given.get("policy"):
            work.call("s3", "PutBucketPolicy", retry=("MalformedPolicy",), Bucket=work.id, Policy=given["policy"])
        elif "policy" in names and work.state.get("policy"):
            work.call("s3", "DeleteBucketPolicy", Bucket=work.id)
        if "versioning" in names and (given.get("versioning") or work.state):
            enabled = (given.get("versioning") or {}).get("enabled")
            status = {"Status": "Enabled" if enabled else "Suspended"}
            work.call("s3", "PutBucketVersioning", Bucket=work.id, VersioningConfiguration=status)
        if "serverSideEncryptionConfiguration" in names and given.get("serverSideEncryptionConfiguration"):
            from twins.providers.aws.translate import to_api

            shape = work.shape("s3", "PutBucketEncryption").members["ServerSideEncryptionConfiguration"]
            rules = to_api(given["serverSideEncryptionConfiguration"], shape, {})
            work.call("s3", "PutBucketEncryption", Bucket=work.id, ServerSideEncryptionConfiguration=rules)


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

    def call_update(self, work: Work) -> None:
        if work.inputs["versioningConfiguration"].get("status") == "Disabled":
            raise ProviderError("versioning_configuration.status cannot be updated from 'Enabled' to 'Disabled'")
        super().call_update(work)

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


def _exists(work: Work, name: str) -> bool:
    try:
        work.call("s3", "HeadBucket", Bucket=name)
    except AwsError as error:
        if error.is_one_of(NO_BUCKET):
            return False
        raise
    return True


def _get(work: Work, operation: str, absent: Gone) -> dict[str, Any]:
    try:
        return work.call("s3", operation, Bucket=work.id)
    except AwsError as error:
        if error.is_one_of((*absent, "MethodNotAllowed", "NotImplemented")):
            return {}
        raise ProviderError(f"reading S3 Bucket ({work.id}): {error}") from None


def _tags(work: Work) -> dict[str, str]:
    told = _get(work, "GetBucketTagging", ("NoSuchTagSet", "NoSuchTagSetError"))
    return {k: v for k, v in map_of(told.get("TagSet", [])).items() if not k.startswith("aws:")}


def _put_tags(work: Work, tags: dict[str, str]) -> None:
    """S3 sets all tags at once: AWS's own stay."""
    told = map_of(_get(work, "GetBucketTagging", ("NoSuchTagSet", "NoSuchTagSetError")).get("TagSet", []))
    wanted = {**tags, **{k: v for k, v in told.items() if k.startswith("aws:")}}
    if not wanted:
        if told:
            work.call("s3", "DeleteBucketTagging", Bucket=work.id)
        return
    shape = work.shape("s3", "PutBucketTagging").members["Tagging"].members["TagSet"]
    work.call("s3", "PutBucketTagging", Bucket=work.id, Tagging={"TagSet": pairs_of(wanted, shape)})


def _empty(work: Work) -> None:
    while True:
        told = work.call("s3", "ListObjectVersions", Bucket=work.id)
        found = [*told.get("Versions", []), *told.get("DeleteMarkers", [])]
        if not found:
            return
        objects = [{"Key": o["Key"], "VersionId": o["VersionId"]} for o in found]
        for start in range(0, len(objects), 1000):
            work.call("s3", "DeleteObjects", Bucket=work.id, Delete={"Objects": objects[start : start + 1000]})


def _refuse_elsewhere(work: Work) -> None:
    used = [name for name in ELSEWHERE if work.inputs.get(name)]
    if used:
        raise ProviderError(
            f"the stand-in plugin does not set {', '.join(used)} of a bucket: "
            "give it as a resource of its own (aws.s3.BucketLifecycleConfiguration, …)"
        )


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
    Bucket("aws:s3/bucket:Bucket", "s3", "S3 Bucket", "{bucket}", read="HeadBucket"),
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
