"""The store's objects in an S3 bucket.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from botocore.exceptions import ClientError

from contract.layout import cache_dir
from llmops.platforms.aws.clients import Clients, error_code, explained
from llmops.remote_objects import RemoteObjects

_TAKEN, _BUSY, _MISSING = "PreconditionFailed", "ConditionalRequestConflict", ("NoSuchKey", "NoSuchBucket", "404")


class S3Objects(RemoteObjects):
    """Objects of a bucket."""

    def __init__(self, bucket: str, clients: Clients, account: str = "") -> None:
        """Open a bucket.

        Args:
            bucket: its name.
            clients: of the stack's account.
            account: whose bucket it must be; S3 refuses every call to a bucket of another account's.
        """
        super().__init__(f"s3://{bucket}", bucket_cache(bucket))
        self.bucket = bucket
        self._s3 = clients("s3")
        self._owner = {"ExpectedBucketOwner": account} if account else {}

    def find(self, key: str) -> bytes | None:
        """An object's content; None: there is none."""
        with explained(f"{self.url}/{key}"):
            try:
                return self._s3.get_object(Bucket=self.bucket, Key=key, **self._owner)["Body"].read()
            except ClientError as e:
                if error_code(e) in _MISSING:
                    return None
                raise

    def put(self, key: str, data: bytes) -> None:
        """Write an object, over one that may be there."""
        with explained(f"{self.url}/{key}"):
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=data, ChecksumAlgorithm="SHA256", **self._owner)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one; of writers at the same time, exactly one is told True."""
        while True:
            try:
                self._s3.put_object(
                    Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*", ChecksumAlgorithm="SHA256", **self._owner
                )
            except ClientError as e:
                if error_code(e) in (_TAKEN, "412"):
                    return False
                if error_code(e) in (_BUSY, "409"):
                    continue  # another writer is at work on it: S3 asks to try again
                with explained(f"{self.url}/{key}"):
                    raise
            return True

    def folders(self, prefix: str) -> Iterator[str]:
        """Keys of the folders that begin with a prefix, without what is in them; none where the bucket is gone."""
        pages = self._s3.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.bucket, Prefix=prefix, Delimiter="/", **self._owner)
        with explained(self.url):
            try:
                for page in found:
                    yield from (each["Prefix"].rstrip("/") for each in page.get("CommonPrefixes", []))
            except ClientError as e:
                if error_code(e) not in _MISSING:
                    raise

    def _entries(self, prefix: str) -> dict[str, str]:
        """Key -> ETag of the objects below a prefix."""
        with explained(self.url):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, **self._owner)
            return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", [])}

    def _exists(self, key: str) -> bool:
        try:
            self._s3.head_object(Bucket=self.bucket, Key=key, **self._owner)
        except ClientError as e:
            if error_code(e) in _MISSING:
                return False
            with explained(f"{self.url}/{key}"):
                raise
        return True

    def _upload(self, key: str, path: Path) -> None:
        self._s3.upload_file(str(path), self.bucket, key, ExtraArgs={"ChecksumAlgorithm": "SHA256", **self._owner})

    def _download(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._s3.download_file(self.bucket, key, str(path), ExtraArgs=dict(self._owner))

    def _explained(self, where: str, fix: str = "") -> AbstractContextManager[None]:
        return explained(where, fix)


def bucket_cache(bucket: str) -> Path:
    """Where this machine keeps what it fetched from a bucket."""
    return cache_dir() / "stores" / bucket
