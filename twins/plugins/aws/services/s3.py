"""S3: buckets. Their settings that are resources of their own are in `s3_settings`."""

from typing import Any

from twins.plugins.aws.calls import AwsError, Gone, Work
from twins.plugins.aws.kinds import MINUTE, Kind
from twins.plugins.aws.services.s3_settings import KINDS as SETTINGS
from twins.plugins.aws.services.s3_settings import NO_BUCKET
from twins.plugins.aws.translate import from_api, map_of, pairs_of
from twins.plugins.plugin import ProviderError

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
            from twins.plugins.aws.translate import to_api

            shape = work.shape("s3", "PutBucketEncryption").members["ServerSideEncryptionConfiguration"]
            rules = to_api(given["serverSideEncryptionConfiguration"], shape, {})
            work.call("s3", "PutBucketEncryption", Bucket=work.id, ServerSideEncryptionConfiguration=rules)


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


KINDS = (
    Bucket("aws:s3/bucket:Bucket", "s3", "S3 Bucket", "{bucket}", read="HeadBucket"),
    *SETTINGS,
)
