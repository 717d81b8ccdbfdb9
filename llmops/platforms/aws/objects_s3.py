"""The store's objects in an S3 bucket.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from contract.documents.dataset import PART_BYTES, FileEntry, part_count
from contract.errors import IntegrityError
from contract.layout import cache_dir
from llmops.platforms.aws.clients import Clients, error_code, explained
from llmops.store.bounded_file import FETCH_ANEW, Bounded
from llmops.store.remote_checks import Hashed, Stored, at_once
from llmops.store.remote_objects import Entry, RemoteObjects

LARGEST_COPY = 5 << 30
"""Bytes of the largest object that one CopyObject copies:
https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
"""
_NEW = {"MetadataDirective": "REPLACE", "TaggingDirective": "REPLACE"}  # whoever wrote the source chose its metadata
# In the parts that manifests list, so that the sums which S3 keeps can be compared. `PART_BYTES` itself is one part.
_IN_PARTS = TransferConfig(multipart_threshold=PART_BYTES + 1, multipart_chunksize=PART_BYTES)
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
        self._clients, self._s3 = clients, clients("s3")
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
        more = {"ChecksumAlgorithm": "SHA256", **self._owner}
        self._s3.upload_file(str(path), self.bucket, key, ExtraArgs=more, Config=_IN_PARTS)

    def _download(self, key: str, file: Bounded | Hashed) -> None:
        self._s3.download_fileobj(self.bucket, key, file, ExtraArgs=dict(self._owner))

    def _stored(self, key: str) -> Stored | None:
        try:
            found = self._s3.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED", **self._owner)
        except ClientError as e:
            if error_code(e) in _MISSING:
                return None
            raise
        version = found.get("VersionId", "null")
        return Stored(found["ContentLength"], found.get("ChecksumSHA256", ""), "" if version == "null" else version)

    def copies_from(self, source: RemoteObjects) -> bool:
        """From buckets of the same account that the same credentials reach."""
        if not isinstance(source, S3Objects) or not self._owner:
            return False
        return (self._owner, self._clients.profile) == (source._owner, source._clients.profile)

    def _copy(self, key: str, source: "S3Objects", source_key: str, etag: str, entry: FileEntry) -> None:
        given = {
            "Bucket": self.bucket,
            "Key": key,
            "CopySource": {"Bucket": source.bucket, "Key": source_key},
            "CopySourceIfMatch": etag,
            **self._owner,
            **{f"ExpectedSource{name.removeprefix('Expected')}": owner for name, owner in source._owner.items()},
        }
        try:
            if entry.parts or entry.size > LARGEST_COPY:
                self._copy_parts(given, entry.size)
            else:
                self._s3.copy_object(**given, **_NEW, ChecksumAlgorithm="SHA256")
        except ClientError as e:
            if error_code(e) not in (_TAKEN, "412"):
                raise
            where = f"{source.url}/{source_key}"
            raise IntegrityError("was changed while it was copied", where=where, fix=FETCH_ANEW) from e

    def _copy_parts(self, given: dict[str, Any], size: int) -> None:
        """Copy a large object; S3 keeps the SHA-256 of its parts' SHA-256s.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html
        """
        place = {name: given[name] for name in ("Bucket", "Key", *self._owner)}
        begun = self._s3.create_multipart_upload(**place, ChecksumAlgorithm="SHA256", ChecksumType="COMPOSITE")
        place["UploadId"] = begun["UploadId"]
        parts: list[dict[str, Any]] = []

        def copy(number: int) -> None:
            start = (number - 1) * PART_BYTES
            range_ = f"bytes={start}-{min(start + PART_BYTES, size) - 1}"
            found = self._s3.upload_part_copy(**given | place, PartNumber=number, CopySourceRange=range_)
            sums = {name: found["CopyPartResult"][name] for name in ("ETag", "ChecksumSHA256")}
            parts.append({"PartNumber": number, **sums})

        try:
            at_once(copy, range(1, part_count(size) + 1))
            parts.sort(key=lambda part: part["PartNumber"])
            self._s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts}, ChecksumType="COMPOSITE")
        except BaseException:
            with suppress(ClientError):  # what went wrong first is told
                self._s3.abort_multipart_upload(**place)
            raise

    def _explained(self, where: str, fix: str = "") -> AbstractContextManager[None]:
        return explained(where, fix)


def bucket_cache(bucket: str) -> Path:
    """Where this machine keeps what it fetched from a bucket."""
    return cache_dir() / "stores" / bucket
