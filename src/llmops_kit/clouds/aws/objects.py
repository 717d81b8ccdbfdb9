"""Reads and writes small objects in an S3 bucket, for the program, its dynamic providers and the command line.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

from llmops_kit.clouds.aws.errors import error_code, explained, find
from llmops_kit.clouds.aws.session import find_session
from llmops_kit.clouds.objects import CHANGED, ObjectEntry
from llmops_kit.core.errors import IntegrityError

TAKEN = ("PreconditionFailed", "412")
_PIECE = 1 << 20
_ATTEMPTS = 5
_BUSY = ("ConditionalRequestConflict", "409")


class S3Bucket:
    """A bucket by its name. Missing objects, and a missing bucket, count as empty.

    Attributes:
        owner: arguments by which S3 refuses a bucket of another account; may be empty.
    """

    def __init__(self, s3: Any, name: str, account: str = "") -> None:
        self.s3, self.name, self.url = s3, name, f"s3://{name}"
        self.owner = {"ExpectedBucketOwner": account} if account else {}

    def read(self, key: str, most: int | None = None) -> bytes | None:
        """Returns an object's content, at most `most` bytes of it; None if it is missing."""
        with explained(f"{self.url}/{key}"):
            answer = find(self.s3.get_object, Bucket=self.name, Key=key, **self.owner)
            if answer is None:
                return None
            with closing(answer["Body"]) as body:
                return body.read(most)

    def write(self, key: str, data: bytes) -> None:
        """Writes an object, and replaces an existing one."""
        with explained(f"{self.url}/{key}"):
            self._put(key, data)

    def create(self, key: str, data: bytes) -> bool:
        """Writes an object unless it exists. Returns whether this call wrote it."""
        from botocore.exceptions import ClientError

        with explained(f"{self.url}/{key}"):
            while True:
                try:
                    self._put(key, data, IfNoneMatch="*")
                    return True
                except ClientError as e:
                    if error_code(e) in TAKEN:
                        return False
                    if error_code(e) not in _BUSY:  # another request is writing it: S3 asks for a retry
                        raise

    def remove(self, key: str) -> None:
        """Deletes an object, if it exists."""
        with explained(f"{self.url}/{key}"):
            find(self.s3.delete_object, Bucket=self.name, Key=key, **self.owner)

    def describe(self, key: str, **options: str) -> dict[str, Any] | None:
        """Returns the response of HeadObject, or None if the object is missing. Other errors of botocore pass
        through.
        """
        return find(self.s3.head_object, Bucket=self.name, Key=key, **options, **self.owner)

    def exists(self, key: str) -> bool:
        """Returns whether the bucket has an object of this key.

        Raises:
            KitError: S3 refuses, or can't be reached.
        """
        with explained(f"{self.url}/{key}"):
            return self.describe(key) is not None

    def listed(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Returns key -> entry of ListObjectsV2 for the objects below a prefix, without the console's empty folders."""
        with explained(self.url):
            pages = self._pages(Prefix=prefix)
        found = [each for page in pages for each in page.get("Contents", [])]
        return {each["Key"]: each for each in found if each["Size"] or not each["Key"].endswith("/")}

    def entries(self, prefix: str) -> Iterator[ObjectEntry]:
        """Yields the objects below a prefix: see llmops_kit.clouds.objects.ObjectSource."""
        with explained(self.url):
            listing = self.s3.get_paginator("list_objects_v2")
            for page in listing.paginate(Bucket=self.name, Prefix=prefix, **self.owner):
                for found in page.get("Contents", []):
                    if found["Size"] or not found["Key"].endswith("/"):  # the console's empty folders
                        yield ObjectEntry(found["Key"], found["Size"], found["ETag"])

    def stream(self, key: str, etag: str, start: int) -> Generator[bytes, None, None]:
        """Yields an object's content from byte `start` on; resumes where a connection broke.

        Raises:
            IntegrityError: the object has another ETag by now.
            KitError: AWS refuses, or can't be reached.
        """
        from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError, ResponseStreamingError

        where = f"{self.url}/{key}"
        with explained(where):
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    asked = {"Range": f"bytes={start}-"} if start else {}
                    answer = self.s3.get_object(Bucket=self.name, Key=key, IfMatch=etag, **asked, **self.owner)
                    with closing(answer["Body"]) as body:
                        for piece in body.iter_chunks(_PIECE):
                            start += len(piece)
                            yield piece
                    return
                except ClientError as e:
                    if error_code(e) not in TAKEN:
                        raise
                    raise IntegrityError(CHANGED[0], where=where, fix=CHANGED[1]) from e
                except (HTTPClientError, IncompleteReadError, ResponseStreamingError):
                    if attempt == _ATTEMPTS:
                        raise

    def folders(self, prefix: str) -> list[str]:
        """Returns the keys of the folders that begin with a prefix, not their content; [] if the bucket is missing."""
        with explained(self.url):
            pages = find(self._pages, Prefix=prefix, Delimiter="/") or []
        return [each["Prefix"].rstrip("/") for page in pages for each in page.get("CommonPrefixes", [])]

    def _pages(self, **options: str) -> list[dict[str, Any]]:
        return [*self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, **options, **self.owner)]

    def _put(self, key: str, data: bytes, **options: str) -> None:
        self.s3.put_object(Bucket=self.name, Key=key, Body=data, ChecksumAlgorithm="SHA256", **options, **self.owner)


def open_data(place: str) -> tuple[S3Bucket, str]:
    """Splits `bucket/key` and opens the bucket with the credentials of this process's environment.

    Raises:
        KitError: no credentials.
    """
    name, _, key = place.partition("/")
    return S3Bucket(find_session("", "")("s3"), name), key
