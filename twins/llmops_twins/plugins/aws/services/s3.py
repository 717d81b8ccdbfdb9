"""S3: buckets; their versioning and lifecycle rules, which are separate resources."""

from typing import Any

from llmops_twins.plugins.aws.calls import AwsError, Gone, ResourceOperation
from llmops_twins.plugins.aws.kinds import MINUTE, AwsResourceKind
from llmops_twins.plugins.aws.translate import from_api, map_of, pairs_of
from llmops_twins.plugins.plugin import ProviderError

NO_BUCKET = ("NoSuchBucket", "404", "NotFound")
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
"""Operations by which the real plugin reads every bucket, and which a deployer must therefore be allowed."""
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
"""Route 53's hosted zone of S3 websites, by region (AWS General Reference, S3 endpoints)."""


class S3BucketKind(AwsResourceKind):
    """Creates a bucket in its region, and reads every part of its configuration."""

    def call_create(self, work: ResourceOperation) -> dict[str, Any]:
        name = work.inputs["bucket"]
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

    def complete(self, work: ResourceOperation, answer: dict[str, Any]) -> None:
        work.wait(lambda: _exists(work, work.id), 20 * MINUTE, f"S3 Bucket ({work.id}) create")
        if work.inputs.get("tagsAll"):
            _put_tags(work, work.inputs["tagsAll"])

    def find(self, work: ResourceOperation) -> dict[str, Any] | None:
        if not _exists(work, work.id):
            return None
        settings = {operation: _get(work, operation, absent) for operation, absent in READS}
        region, name = work.region, work.id
        found: dict[str, Any] = {
            "bucket": name,
            "arn": f"arn:{work.session.partition}:s3:::{name}",
            "bucketDomainName": f"{name}.s3.amazonaws.com",
            "bucketRegionalDomainName": f"{name}.s3.{region}.amazonaws.com",
            "bucketRegion": region,
            "hostedZoneId": ZONES.get(region, ""),
            "objectLockEnabled": bool(settings["GetObjectLockConfiguration"]),
            "requestPayer": settings["GetBucketRequestPayment"].get("Payer", "BucketOwner"),
            "versioning": {
                "enabled": settings["GetBucketVersioning"].get("Status") == "Enabled",
                "mfaDelete": settings["GetBucketVersioning"].get("MFADelete") == "Enabled",
            },
            "tagsAll": _tags(work),
        }
        if settings["GetBucketPolicy"].get("Policy"):
            found["policy"] = settings["GetBucketPolicy"]["Policy"]
        encryption = settings["GetBucketEncryption"].get("ServerSideEncryptionConfiguration", {}).get("Rules")
        if encryption:
            shapes = {"rule": work.rules.inputs["serverSideEncryptionConfiguration"]["rule"]}
            found["serverSideEncryptionConfiguration"] = from_api({"Rules": encryption}, shapes, {})
        return found

    def readable(self, work: ResourceOperation) -> set[str]:
        return {"bucket", "tagsAll", "policy", "versioning", "serverSideEncryptionConfiguration", *work.rules.outputs}

    def change(self, work: ResourceOperation) -> dict[str, Any]:
        self.refuse_unsupported(work)
        if "tagsAll" in work.changed:
            _put_tags(work, work.inputs.get("tagsAll") or {})
        return self.state_after(work)

    def remove(self, work: ResourceOperation) -> None:
        try:
            self._delete(work)
        except AwsError as error:
            if error.is_one_of(NO_BUCKET):
                return
            raise ProviderError(f"deleting S3 Bucket ({work.id}): {error}") from None
        work.wait(lambda: not _exists(work, work.id), 60 * MINUTE, f"S3 Bucket ({work.id}) delete")

    def id_after_create(self, work: ResourceOperation, answer: dict[str, Any]) -> str:
        return work.inputs["bucket"]

    def _delete(self, work: ResourceOperation) -> None:
        try:
            work.call("s3", "DeleteBucket", Bucket=work.id)
        except AwsError as error:
            if not error.is_one_of(("BucketNotEmpty",)) or not work.state.get("forceDestroy"):
                raise
            _empty(work)
            work.call("s3", "DeleteBucket", Bucket=work.id)


class BucketVersioning(AwsResourceKind):
    """Versioning. It can be suspended, not removed; a bucket that never had it returns nothing."""

    def call_create(self, work: ResourceOperation) -> dict[str, Any]:
        if work.inputs["versioningConfiguration"].get("status") == "Disabled":
            return {}
        return super().call_create(work)

    def refused_change(self, state: dict[str, Any], news: dict[str, Any]) -> str:
        old, new = ((p.get("versioningConfiguration") or {}).get("status", "") for p in (state, news))
        if old in ("Enabled", "Suspended") and new == "Disabled":
            return f"versioning_configuration.status cannot be updated from '{old}' to '{new}'"
        return ""

    def call_read(self, work: ResourceOperation) -> dict[str, Any] | None:
        answer = work.call("s3", "GetBucketVersioning", Bucket=work.id)
        return {"VersioningConfiguration": {"Status": "Disabled", **answer}}

    def call_delete(self, work: ResourceOperation) -> None:
        if (work.state.get("versioningConfiguration") or {}).get("status") == "Disabled":
            return
        try:
            status = {"Status": "Suspended"}
            work.call("s3", "PutBucketVersioning", Bucket=work.id, VersioningConfiguration=status)
        except AwsError as error:
            if not error.is_one_of(("InvalidBucketState",)):
                raise

    def readable(self, work: ResourceOperation) -> set[str]:
        return {"bucket", "expectedBucketOwner", "versioningConfiguration"}


class BucketLifecycle(AwsResourceKind):
    """Lifecycle rules. One without a filter is sent with an empty filter."""

    def parameters(self, work: ResourceOperation, operation: str) -> dict[str, Any]:
        found = super().parameters(work, operation)
        for rule in found["LifecycleConfiguration"]["Rules"]:
            if "Prefix" not in rule:
                rule.setdefault("Filter", {"Prefix": ""})
                if not rule["Filter"]:
                    rule["Filter"] = {"Prefix": ""}
        return found


class BucketObjectLock(AwsResourceKind):
    """A bucket's default retention. The lock itself stays: deletion removes the rule alone."""

    def parameters(self, work: ResourceOperation, operation: str) -> dict[str, Any]:
        found = super().parameters(work, operation)
        found["ObjectLockConfiguration"].setdefault("ObjectLockEnabled", "Enabled")
        return found

    def call_delete(self, work: ResourceOperation) -> None:
        locked = {"ObjectLockEnabled": "Enabled"}
        work.call("s3", "PutObjectLockConfiguration", Bucket=work.id, ObjectLockConfiguration=locked)


def _exists(work: ResourceOperation, name: str) -> bool:
    try:
        work.call("s3", "HeadBucket", Bucket=name)
    except AwsError as error:
        if error.is_one_of(NO_BUCKET):
            return False
        raise
    return True


def _get(work: ResourceOperation, operation: str, absent: Gone) -> dict[str, Any]:
    try:
        return work.call("s3", operation, Bucket=work.id)
    except AwsError as error:
        if error.is_one_of((*absent, "MethodNotAllowed", "NotImplemented")):
            return {}
        raise ProviderError(f"reading S3 Bucket ({work.id}): {error}") from None


def _tags(work: ResourceOperation) -> dict[str, str]:
    answer = _get(work, "GetBucketTagging", ("NoSuchTagSet", "NoSuchTagSetError"))
    return {k: v for k, v in map_of(answer.get("TagSet", [])).items() if not k.startswith("aws:")}


def _put_tags(work: ResourceOperation, tags: dict[str, str]) -> None:
    """Replaces all tags of a bucket, since S3 can only set them together; keeps AWS's own."""
    present = map_of(_get(work, "GetBucketTagging", ("NoSuchTagSet", "NoSuchTagSetError")).get("TagSet", []))
    wanted = {**tags, **{k: v for k, v in present.items() if k.startswith("aws:")}}
    if not wanted:
        if present:
            work.call("s3", "DeleteBucketTagging", Bucket=work.id)
        return
    shape = work.shape("s3", "PutBucketTagging").members["Tagging"].members["TagSet"]
    work.call("s3", "PutBucketTagging", Bucket=work.id, Tagging={"TagSet": pairs_of(wanted, shape)})


def _empty(work: ResourceOperation) -> None:
    while True:
        page = work.call("s3", "ListObjectVersions", Bucket=work.id)
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if not found:
            return
        objects = [{"Key": o["Key"], "VersionId": o["VersionId"]} for o in found]
        for start in range(0, len(objects), 1000):
            work.call("s3", "DeleteObjects", Bucket=work.id, Delete={"Objects": objects[start : start + 1000]})
