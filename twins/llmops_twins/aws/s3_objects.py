"""Reads and writes S3 objects of any size as files, for the platform. Never holds a whole object in memory.

Callers check permissions first. Objects written here look like any other to S3's API.

Errors for missing objects follow https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import IO, Any

from llmops_kit.core import object_keys as keys
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.judges.account import JudgedAccount
from llmops_twins.aws.object_bodies import BODIES, ObjectBody
from llmops_twins.aws.twin import AccountTwin

_PIECE = 1 << 20
_AT_ONCE = 1 << 30


@dataclass(frozen=True)
class S3Location:
    """A bucket, and a key or a key prefix."""

    bucket: str
    key: str

    @classmethod
    def of(cls, uri: str) -> "S3Location":
        """Parses an `s3://` URI."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return cls(bucket, key)

    def below(self, path: str) -> "S3Location":
        """Returns the location of a relative path in this folder."""
        return S3Location(self.bucket, f"{self.key.rstrip('/')}/{path}".lstrip("/"))

    @property
    def uri(self) -> str:
        """The location as `s3://bucket/key`."""
        return f"s3://{self.bucket}/{self.key}"


def found_below(twin: AccountTwin, place: S3Location) -> list[tuple[str, str]]:
    """Returns key and relative path of each object below a prefix, in order; without folder markers.

    Raises:
        AwsApiError: the bucket does not exist, or a key can't be a path below a folder.
    """
    with twin.lock:
        bucket = JudgedAccount(twin).bucket(place.bucket)
        if bucket is None:
            raise AwsApiError("NoSuchBucket", f"The bucket {place.bucket} does not exist.", 404)
        keys = sorted(key for key in bucket.keys if key.startswith(place.key) and not key.endswith("/"))
        there = [key for key in keys if _latest(twin, place.bucket, key) is not None]
    return [(key, _path_of(key, place.key)) for key in there]


def download(twin: AccountTwin, bucket: str, key: str, target: Path) -> None:
    """Writes an object's content into a file.

    Raises:
        AwsApiError: the object does not exist, or its KMS key is unusable.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file, _content(twin, bucket, key, file) as source:
        while source and os.sendfile(file.fileno(), source.fileno(), None, _AT_ONCE):
            pass


def link(twin: AccountTwin, bucket: str, key: str, target: Path) -> None:
    """Writes an object's content into a file like `download`, but as a hard link if the content is in a file already,
    so `target` must not be written to.

    Raises:
        AwsApiError: the object does not exist, or its KMS key is unusable.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with twin.lock:
        body = getattr(_latest(twin, bucket, key), "_value_buffer", None)
        _check(twin, "GetObject", {"Bucket": bucket, "Key": key})
        if isinstance(body, ObjectBody) and body.path:
            target.hardlink_to(body.path)
            return
    download(twin, bucket, key, target)


def upload(twin: AccountTwin, source: Path, place: S3Location, key_id: str = "", *, move: bool = False) -> None:
    """Puts a file's content as an object, encrypted by the bucket's default or with a KMS key.

    Args:
        twin: the account.
        source: the file.
        place: bucket and key.
        key_id: ARN, id or alias of the KMS key.
        move: whether the file may be moved instead of copied.

    Raises:
        AwsApiError: the bucket does not exist, or the KMS key is unusable.
        OSError: the file disappeared.
    """
    with new_body(twin) as body:
        if move:
            source.replace(body)
            body.chmod(0o600)
        etag = _digest(body) if move else _copy(source, body)
        with twin.lock:
            _put(twin, body, place, key_id, etag)


def _put(twin: AccountTwin, body: Path, place: S3Location, key_id: str, etag: str) -> None:
    from moto.s3 import notifications
    from moto.s3.models import s3_backends

    account = JudgedAccount(twin)
    bucket = account.bucket(place.bucket)
    if bucket is None:
        raise AwsApiError("NoSuchBucket", f"The bucket {place.bucket} does not exist.", 404)
    encryption: dict[str, Any] = {}
    parameters = {"Bucket": place.bucket, "Key": place.key}
    if key_id:
        arn = account.key_arn(key_id, bucket.region_name)
        encryption = {"encryption": "aws:kms", "kms_key_id": arn}
        parameters |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": arn}
    _check(twin, "PutObject", parameters)
    backend = s3_backends[account.id][account.partition]
    made: Any = backend.put_object(place.bucket, place.key, b"", etag=etag, disable_notification=True, **encryption)
    give_body(made, body)
    made.set_acl(bucket.acl)
    notifications.send_event(account.id, notifications.S3NotificationEvent.OBJECT_CREATED_PUT_EVENT, bucket, made)
    twin.changed()


@contextmanager
def _content(twin: AccountTwin, bucket: str, key: str, target: IO[bytes]) -> Iterator[IO[bytes] | None]:
    """Yields an object's content as an open file; None if its content was in memory, and has been copied to
    `target`.
    """
    with twin.lock:
        found = _latest(twin, bucket, key)
        if found is None:
            raise AwsApiError("NoSuchKey", f"The object s3://{bucket}/{key} does not exist.", 404)
        _check(twin, "GetObject", {"Bucket": bucket, "Key": key})
        body = found._value_buffer
        if isinstance(body, ObjectBody) and body.path:
            opened = body.path.open("rb")
        else:
            body.seek(0)
            shutil.copyfileobj(body, target, _PIECE)
            opened = None
    try:
        yield opened
    finally:
        if opened:
            opened.close()


def give_body(key: Any, body: Path) -> None:
    """Makes a file of `new_body` the content of one of moto's objects or parts."""
    kept = body.with_name(body.name.removeprefix("."))
    body.rename(kept)
    key._value_buffer.close()
    key._value_buffer = ObjectBody(kept)
    key.contentsize = kept.stat().st_size


def write_body(key: Any, target: Path, start: int = 0, length: int = -1) -> None:
    """Appends a range of one of moto's objects or parts to a file; a `length` of -1 reads to its end. Call with the
    twin's lock held, because a save may move the content to another file.
    """
    length = key.size - start if length < 0 else length
    body = key._value_buffer
    if isinstance(body, ObjectBody) and body.path:
        with body.path.open("rb") as source, target.open("r+b") as file:
            _copy_sparsely(source.fileno(), file.fileno(), start, length)
        return
    body.seek(start)
    with target.open("ab") as file:
        while length and (piece := body.read(min(_PIECE, length))):
            file.write(piece)
            length -= len(piece)


def _copy_sparsely(source: int, target: int, at: int, length: int) -> None:
    """Appends a range of one file to another; holes and zeros become holes."""
    end, offset = at + length, os.fstat(target).st_size - at
    os.ftruncate(target, end + offset)
    while at < end:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # only a hole up to the end
            return
        stop = min(os.lseek(source, at, os.SEEK_HOLE), end)
        while at < stop:
            piece = os.pread(source, min(_PIECE, stop - at), at)
            if piece.count(0) != len(piece):
                os.pwrite(target, piece, at + offset)
            at += len(piece)


@contextmanager
def new_body(twin: AccountTwin) -> Iterator[Path]:
    """Yields the path of a new file in the folder of S3's bodies; removes it afterwards if it was not moved away."""
    folder = twin.home / BODIES
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f".{uuid.uuid4().hex}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _latest(twin: AccountTwin, bucket: str, key: str) -> Any | None:
    """Returns moto's object; None if it was deleted."""
    from moto.s3.models import s3_backends

    account = JudgedAccount(twin)
    return s3_backends[account.id][account.partition].get_object(bucket, key)


def _check(twin: AccountTwin, operation: str, parameters: dict[str, Any]) -> None:
    """Runs the checks of an S3 operation, without a caller."""
    call = ApiCall("s3", operation, parameters, "", twin.region, "")
    for check in twin.checks("s3", operation):
        check(call)


def _path_of(key: str, prefix: str) -> str:
    if key == prefix:
        path = key.rpartition("/")[2]
    elif prefix and key.startswith(prefix.rstrip("/") + "/"):
        path = key[len(prefix.rstrip("/")) + 1 :]
    else:
        path = key[len(prefix.rpartition("/")[0]) :].lstrip("/")
    if why := keys.fault(path):
        # unsure (70 %): of models such names are documented to fail the deployment
        # (https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_S3ModelDataSource.html); jobs fail later, in
        # words like those of https://github.com/aws-samples/generative-ai-on-amazon-sagemaker/pull/242
        raise AwsApiError("ValidationException", f"The key {keys.shown(key)} can't be a file below a folder: it {why}.")
    return path


def _copy(source: Path, target: Path) -> str:
    digest = md5(usedforsecurity=False)
    with source.open("rb") as read, target.open("xb") as written:
        while piece := read.read(_PIECE):
            digest.update(piece)
            written.write(piece)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    digest = md5(usedforsecurity=False)
    with path.open("rb") as read:
        while piece := read.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
