"""The store's objects in an S3 bucket.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.store.bounded_file import FETCH_ANEW, Bounded
from llmops_kit.cli.store.remote_checks import Hashed, Stored, at_once
from llmops_kit.cli.store.remote_objects import Entry, RemoteObjects
from llmops_kit.clouds.aws.errors import error_code, explained
from llmops_kit.clouds.aws.objects import TAKEN, S3Bucket
from llmops_kit.core.documents.dataset import PART_BYTES, FileEntry, part_count
from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.layout import cache_dir

LARGEST_COPY = 5 << 30
"""Bytes of the largest object that one CopyObject copies:
https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
"""
_NEW = {"MetadataDirective": "REPLACE", "TaggingDirective": "REPLACE"}  # the source's metadata is its writer's choice
# The parts are those of manifests, so that S3's checksums can be compared. `PART_BYTES` itself is one part.
_IN_PARTS = TransferConfig(multipart_threshold=PART_BYTES + 1, multipart_chunksize=PART_BYTES)


class S3Objects(RemoteObjects):
    """Objects of a bucket, copied and verified by S3 where it can."""

    def __init__(self, bucket: str, clients: AwsClients, account: str = "") -> None:
        """Opens a bucket.

        Args:
            bucket: its name.
            clients: of the stack's account.
            account: whose bucket it must be; S3 refuses every call to a bucket of another account's.
        """
        super().__init__(f"s3://{bucket}", bucket_cache(bucket))
        self._clients, self.bucket = clients, S3Bucket(clients("s3"), bucket, account)

    def _find(self, key: str, most: int) -> bytes | None:
        return self.bucket.read(key, most)

    def _put(self, key: str, data: bytes) -> None:
        self.bucket.write(key, data)

    def _create(self, key: str, data: bytes) -> bool:
        return self.bucket.create(key, data)

    def folders(self, prefix: str) -> Iterator[str]:
        """Yields the keys of the folders that begin with a prefix, not their content; none if the bucket is gone."""
        return iter(self.bucket.folders(prefix))

    def _entries(self, prefix: str) -> dict[str, Entry]:
        return {key: Entry(each["ETag"], each["Size"]) for key, each in self.bucket.listed(prefix).items()}

    def _exists(self, key: str) -> bool:
        return self.bucket.exists(key)

    def _upload(self, key: str, path: Path) -> None:
        more = {"ChecksumAlgorithm": "SHA256", **self.bucket.owner}
        self.bucket.s3.upload_file(str(path), self.bucket.name, key, ExtraArgs=more, Config=_IN_PARTS)

    def _download(self, key: str, file: Bounded | Hashed) -> None:
        self.bucket.s3.download_fileobj(self.bucket.name, key, file, ExtraArgs=dict(self.bucket.owner))

    def _stored(self, key: str) -> Stored | None:
        found = self.bucket.describe(key, ChecksumMode="ENABLED")
        if found is None:
            return None
        version = found.get("VersionId", "null")
        return Stored(found["ContentLength"], found.get("ChecksumSHA256", ""), "" if version == "null" else version)

    def copies_from(self, source: RemoteObjects) -> bool:
        """Returns whether S3 can copy from a store: a bucket of the same account, reached with the same credentials."""
        if not isinstance(source, S3Objects) or not self.bucket.owner:
            return False
        return (self.bucket.owner, self._clients.profile) == (source.bucket.owner, source._clients.profile)

    def _copy(self, key: str, source: "S3Objects", source_key: str, etag: str, entry: FileEntry) -> None:
        given = {
            "Bucket": self.bucket.name,
            "Key": key,
            "CopySource": {"Bucket": source.bucket.name, "Key": source_key},
            "CopySourceIfMatch": etag,
            **self.bucket.owner,
            **{f"ExpectedSource{name.removeprefix('Expected')}": owner for name, owner in source.bucket.owner.items()},
        }
        try:
            if entry.parts or entry.size > LARGEST_COPY:
                self._copy_parts(given, entry.size)
            else:
                self.bucket.s3.copy_object(**given, **_NEW, ChecksumAlgorithm="SHA256")
        except ClientError as e:
            if error_code(e) not in TAKEN:
                raise
            where = f"{source.url}/{source_key}"
            raise IntegrityError("was changed while it was copied", where=where, fix=FETCH_ANEW) from e

    def _copy_parts(self, given: dict[str, Any], size: int) -> None:
        """Copies a large object; S3 stores the SHA-256 of its parts' SHA-256s.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html
        """
        s3 = self.bucket.s3
        place = {name: given[name] for name in ("Bucket", "Key", *self.bucket.owner)}
        begun = s3.create_multipart_upload(**place, ChecksumAlgorithm="SHA256", ChecksumType="COMPOSITE")
        place["UploadId"] = begun["UploadId"]
        parts: list[dict[str, Any]] = []

        def copy(number: int) -> None:
            start = (number - 1) * PART_BYTES
            range_ = f"bytes={start}-{min(start + PART_BYTES, size) - 1}"
            found = s3.upload_part_copy(**given | place, PartNumber=number, CopySourceRange=range_)
            sums = {name: found["CopyPartResult"][name] for name in ("ETag", "ChecksumSHA256")}
            parts.append({"PartNumber": number, **sums})

        try:
            at_once(copy, range(1, part_count(size) + 1))
            parts.sort(key=lambda part: part["PartNumber"])
            s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts}, ChecksumType="COMPOSITE")
        except BaseException:
            with suppress(ClientError):  # the first error is raised
                s3.abort_multipart_upload(**place)
            raise

    def _explained(self, where: str, fix: str = "") -> AbstractContextManager[None]:
        return explained(where, fix)


def bucket_cache(bucket: str) -> Path:
    """Returns the folder in which this machine caches objects of a bucket."""
    return cache_dir() / "stores" / bucket
