"""The store's objects in an S3 bucket.

A key is written once, by a conditional create (If-None-Match: *). A folder is there when its manifest is, which is
written last. https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from contract.dataset import FileEntry
from contract.digest import check_folder, list_files, sha256_file
from contract.errors import IntegrityError, KitError
from contract.layout import MANIFEST, cache_dir
from llmops.platforms.aws.clients import Clients, error_code, explained

_THREADS = 8
_SEEN = ".seen.json"  # beside the folder in the cache: the objects' ETags when they were fetched
_TAKEN, _BUSY, _MISSING = "PreconditionFailed", "ConditionalRequestConflict", ("NoSuchKey", "NoSuchBucket", "404")


class S3Objects:
    """Objects of a bucket, below a prefix or not. Implements llmops.objects.Objects."""

    def __init__(self, bucket: str, clients: Clients, account: str = "") -> None:
        """Open a bucket.

        Args:
            bucket: its name.
            clients: of the stack's account.
            account: whose bucket it must be; S3 refuses every call to a bucket of another account's.
        """
        self.bucket = bucket
        self.url = f"s3://{bucket}"
        self._s3 = clients("s3")
        self._owner = {"ExpectedBucketOwner": account} if account else {}

    def list(self, prefix: str) -> list[str]:
        """Keys below a prefix, sorted as S3 sorts them: by their bytes."""
        return list(self._entries(prefix))

    def get(self, key: str) -> bytes:
        """An object's content."""
        content = self.find(key)
        if content is None:
            raise KitError("is not in the store", where=f"{self.url}/{key}")
        return content

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
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=data, **self._owner)

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

    def put_folder(self, key: str, folder: Path, extra: Mapping[str, bytes]) -> bool:
        """Write a folder's files, then its manifest: until that is there, nobody sees the folder.

        Keys are content hashes, so that files which an interrupted writer left are the same ones.
        """
        if self._exists(f"{key}/{MANIFEST}"):
            return False
        files = {n: p for n, p in list_files(folder).items() if n not in extra and n != MANIFEST}
        with explained(f"{self.url}/{key}", "repeat the command: it goes on from there"):
            _at_once(lambda item: self._upload(f"{key}/{item[0]}", item[1]), files.items())
            for name, data in extra.items():
                self._s3.put_object(
                    Bucket=self.bucket, Key=f"{key}/{name}", Body=data, ChecksumAlgorithm="SHA256", **self._owner
                )
        return self.create(f"{key}/{MANIFEST}", (folder / MANIFEST).read_bytes())

    def get_folder(self, key: str) -> Path:
        """The folder in this machine's cache, fetched anew where an object in the bucket was changed.

        Raises:
            KitError: there is no such folder.
            IntegrityError: what the bucket holds is not what the folder's manifest says.
        """
        prefix = f"{key}/"
        there = {k.removeprefix(prefix): etag for k, etag in self._entries(prefix).items()}
        if MANIFEST not in there:
            raise KitError(
                "is not in the store", where=f"{self.url}/{key}", fix="`llmops models list` shows what is there"
            )
        folder = bucket_cache(self.bucket) / key
        if folder.is_dir() and _read_seen(folder) == there:
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=folder.parent))
        try:
            with explained(f"{self.url}/{key}", "repeat the command"):
                _at_once(lambda name: self._download(prefix + name, incoming / name), there)
            _check(incoming, key.rpartition("/")[2], f"{self.url}/{key}")
            shutil.rmtree(folder, ignore_errors=True)
            try:
                incoming.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process fetched it meanwhile
                    raise
            _seen(folder).write_text(json.dumps(there))
            return folder
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def download(self, prefix: str, folder: Path) -> None:
        """Fetch all objects below a prefix into a folder, which may have some."""
        with explained(f"{self.url}/{prefix}", "repeat the command"):
            _at_once(lambda key: self._download(key, folder / key.removeprefix(prefix)), self._entries(prefix))

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


def bucket_cache(bucket: str) -> Path:
    """Where this machine keeps what it fetched from a bucket."""
    return cache_dir() / "stores" / bucket


def _check(folder: Path, identity: str, where: str) -> None:
    """See that a fetched folder is what its key (a manifest's sha256) and its manifest say."""
    manifest = folder / MANIFEST
    if sha256_file(manifest) != identity:
        raise IntegrityError(
            f"the manifest was changed: it is not sha256:{identity}",
            where=where,
            fix="bring the version in again, or promote another one",
        )
    files = json.loads(manifest.read_text())["files"]
    try:
        check_folder(folder, {name: FileEntry.model_validate(entry) for name, entry in files.items()})
    except IntegrityError as e:
        place = Path(e.where).relative_to(folder).as_posix()
        raise IntegrityError(e.what, where=f"{where}/{place}", fix=e.fix) from None


def _at_once(work: Callable[[Any], None], items: Iterable[Any]) -> None:
    """Do work for all items, some at a time; the first error ends it."""
    with ThreadPoolExecutor(_THREADS) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _seen(folder: Path) -> Path:
    return folder.with_name(folder.name + _SEEN)


def _read_seen(folder: Path) -> dict[str, str]:
    try:
        return json.loads(_seen(folder).read_text())
    except (OSError, ValueError):
        return {}
