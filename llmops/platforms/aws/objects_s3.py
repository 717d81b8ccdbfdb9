"""The store's objects in an S3 bucket.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

from botocore.exceptions import ClientError

from contract.layout import cache_dir
from llmops.bounded import Bounded
from llmops.platforms.aws.clients import Clients, error_code, explained
from llmops.remote_objects import Entry, RemoteObjects

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

    def _find(self, key: str, most: int) -> bytes | None:
        with explained(f"{self.url}/{key}"):
            try:
                body = self._s3.get_object(Bucket=self.bucket, Key=key, **self._owner)["Body"]
                with closing(body):
                    return body.read(most)
            except ClientError as e:
                if error_code(e) in _MISSING:
                    return None
                raise

    def _put(self, key: str, data: bytes) -> None:
        with explained(f"{self.url}/{key}"):
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=data, ChecksumAlgorithm="SHA256", **self._owner)

    def _create(self, key: str, data: bytes) -> bool:
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

    def _entries(self, prefix: str) -> dict[str, Entry]:
        with explained(self.url):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, **self._owner)
            return {
                each["Key"]: Entry(each["ETag"], each["Size"])
                for page in pages
                for each in page.get("Contents", [])
                if each["Size"] or not each["Key"].endswith("/")  # the console's mark of an empty folder
            }

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

    def _download(self, key: str, file: Bounded) -> None:
        self._s3.download_fileobj(self.bucket, key, file, ExtraArgs=dict(self._owner))

    def _explained(self, where: str, fix: str = "") -> AbstractContextManager[None]:
        return explained(where, fix)


def bucket_cache(bucket: str) -> Path:
    """Where this machine keeps what it fetched from a bucket."""
    return cache_dir() / "stores" / bucket
