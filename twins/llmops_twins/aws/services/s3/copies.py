"""Copies and checksums of Amazon S3, on files: objects of gigabytes are never held in memory.

moto trusts the checksums that clients send, gives a copy the checksum of its source, and copies in memory. Here:
- A checksum that does not match the content is refused. An object's checksum covers the whole ("FULL_OBJECT"); that of
  a multipart upload is computed from the parts' checksums, with their number ("COMPOSITE"); a copy by CopyObject has
  one of the whole, whatever its source has.
  https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
- CopyObject takes sources of at most 5 GB, and both copies honour the conditions on their source.
  https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
  https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html
"""

import base64
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import md5, sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from llmops_twins.aws import s3_objects
from llmops_twins.aws.calls import ApiCall, AwsApiError, Deferred
from llmops_twins.aws.judges.s3 import copy_source
from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.twin import AccountTwin

LARGEST_SOURCE = 5 << 30
_SMALLEST_PART = 5 << 20
_PIECE = 1 << 20
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_ALGORITHM = "SHA256"


def install(twin: AccountTwin) -> None:
    """Replaces moto's copies and its completion of multipart uploads."""
    _add_checksum_types()
    copies = _Copies(twin)
    for operation in ("PutObject", "UploadPart"):
        twin.before("s3", operation, _refuse_wrong_sum)
    twin.after("s3", "PutObject", copies.say_kind)
    twin.implement("s3", "CopyObject", copies.copy_object)
    twin.implement("s3", "UploadPartCopy", copies.copy_part)
    twin.implement("s3", "CompleteMultipartUpload", copies.complete)


class _Copies:
    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def say_kind(self, call: ApiCall, _answer: Document) -> None:
        made = self._backend().get_object(call.parameters["Bucket"], call.parameters["Key"])
        if own := call.parameters.get("ChecksumSHA256"):  # moto keeps one only if the algorithm is named too
            made.checksum_algorithm, made.checksum_value = _ALGORITHM, own
        made.checksum_type = "FULL_OBJECT" if made.checksum_algorithm else None

    def copy_object(self, call: ApiCall) -> Deferred:
        given = call.parameters
        source = self._source(given)
        if source.size > LARGEST_SOURCE:
            limit = f"copy source: {LARGEST_SOURCE}"
            raise _invalid(f"The specified copy source is larger than the maximum allowable size for a {limit}")
        replaced = given.get("MetadataDirective") == "REPLACE"
        changed = (given.get(name) for name in ("StorageClass", "ServerSideEncryption", "WebsiteRedirectLocation"))
        if (source.bucket_name, source.name) == (given["Bucket"], given["Key"]) and not (replaced or any(changed)):
            raise _invalid(
                "This copy request is illegal because it is trying to copy an object to itself without changing the"
                " object's metadata, storage class, website redirect location or encryption attributes."
            )
        return Deferred(lambda _: self._copied(given, source, replaced))

    def _copied(self, given: Document, source: Any, replaced: bool) -> Document:
        wanted = given.get("ChecksumAlgorithm") or source.checksum_algorithm
        with self._body(source) as body:
            digest, etag = _digests(body)
            with self._twin.lock:
                made = self._put(given, etag=etag, encryption=given.get("ServerSideEncryption"))
                s3_objects.give_body(made, body)
                made.set_metadata(_metadata(given) if replaced else source.metadata)
                backend = self._backend()
                if given.get("TaggingDirective") == "REPLACE":
                    backend.put_object_tagging(made, dict(parse_qsl(given.get("Tagging", ""))))
                else:
                    backend.tagger.copy_tags(source.arn, made.arn)
                if wanted == _ALGORITHM:
                    _keep_sum(made, digest, "FULL_OBJECT")
                self._twin.changed()
        result = {"ETag": made.etag, "LastModified": made.last_modified} | _checksum_of(made)
        version = {"CopySourceVersionId": source.version_id} if source.version_id != "null" else {}
        return {"CopyObjectResult": result, **version, **_written(made)}

    def copy_part(self, call: ApiCall) -> Deferred:
        given = call.parameters
        source, upload = self._source(given), self._upload(given)
        start, length = 0, source.size
        if given.get("CopySourceRange"):
            found = _RANGE.fullmatch(given["CopySourceRange"])
            if not found or not int(found[1]) <= int(found[2]) < source.size:
                text = f"Range specified is not valid for source object of size: {source.size}"
                raise AwsApiError("InvalidArgument", text)
            start, length = int(found[1]), int(found[2]) - int(found[1]) + 1
        if length > LARGEST_SOURCE:
            raise _invalid(f"The specified copy range is larger than the maximum allowable size: {LARGEST_SOURCE}")
        return Deferred(lambda _: self._copied_part(given, source, upload, start, length))

    def _copied_part(self, given: Document, source: Any, upload: Any, start: int, length: int) -> Document:
        with self._body(source, start, length) as body:
            digest, etag = _digests(body)
            with self._twin.lock:
                part = upload.set_part(given["PartNumber"], b"")
                s3_objects.give_body(part, body)
                part._etag, part.checksum_value = etag, digest
                self._twin.changed()
        summed = {"ChecksumSHA256": digest} if _algorithm(upload) == _ALGORITHM else {}
        return {"CopyPartResult": {"ETag": part.etag, "LastModified": part.last_modified, **summed}}

    def complete(self, call: ApiCall) -> Document:
        given = call.parameters
        upload, listed = self._upload(given), (given.get("MultipartUpload") or {}).get("Parts", [])
        parts = _parts(upload, listed)
        backend = self._backend()
        if given.get("IfNoneMatch") == "*" and backend.get_object(given["Bucket"], given["Key"]) is not None:
            raise _precondition("If-None-Match")
        etags = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
        with s3_objects.new_body(self._twin) as body:
            body.touch()
            for part in parts:
                s3_objects.write_body(part, body)
            made = self._put(
                given,
                etag=f"{md5(etags, usedforsecurity=False).hexdigest()}-{len(parts)}",
                encryption=upload.sse_encryption,
                kms_key_id=upload.kms_key_id,
                multipart=upload,
            )
            s3_objects.give_body(made, body)
        made.set_metadata(upload.metadata)
        backend.put_object_tagging(made, upload.tags)
        made.set_acl(upload.acl or made.acl)
        if _algorithm(upload) == _ALGORITHM:
            digests = b"".join(base64.b64decode(_sum_of(part)) for part in parts)
            _keep_sum(made, base64.b64encode(sha256(digests).digest()).decode(), "COMPOSITE", len(parts))
        del backend.get_bucket(given["Bucket"]).multiparts[given["UploadId"]]
        place = {"Bucket": given["Bucket"], "Key": given["Key"]}
        location = f"https://{given['Bucket']}.s3.amazonaws.com/{given['Key']}"
        return {**place, "Location": location, "ETag": made.etag, **_checksum_of(made), **_written(made)}

    def _source(self, given: Document) -> Any:
        path, version = copy_source(given["CopySource"])
        bucket, _, key = path.partition("/")
        backend = self._backend()
        if bucket not in backend.buckets:
            raise AwsApiError("NoSuchBucket", "The specified bucket does not exist", 404)
        found = backend.get_object(bucket, key, version_id=version or None)
        if found is None:
            code = "NoSuchVersion" if version else "NoSuchKey"
            raise AwsApiError(code, "The specified key does not exist.", 404)
        etag = found.etag.strip('"')
        if (wanted := given.get("CopySourceIfMatch")) and wanted.strip('"') not in (etag, "*"):
            raise _precondition("x-amz-copy-source-If-Match")
        if (unwanted := given.get("CopySourceIfNoneMatch")) and unwanted.strip('"') in (etag, "*"):
            raise _precondition("x-amz-copy-source-If-None-Match")
        written = found.last_modified.replace(microsecond=0, tzinfo=None)
        if (since := given.get("CopySourceIfModifiedSince")) and written <= since.replace(tzinfo=None):
            raise _precondition("x-amz-copy-source-If-Modified-Since")
        if (since := given.get("CopySourceIfUnmodifiedSince")) and written > since.replace(tzinfo=None):
            raise _precondition("x-amz-copy-source-If-Unmodified-Since")
        return found

    def _upload(self, given: Document) -> Any:
        found = self._backend().get_bucket(given["Bucket"]).multiparts.get(given["UploadId"])
        if found is None or found.key_name != given["Key"]:
            text = "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."  # fmt: skip # noqa: E501
            raise AwsApiError("NoSuchUpload", text, 404)
        return found

    def _put(self, given: Document, **more: Any) -> Any:
        storage = {"storage": given["StorageClass"]} if given.get("StorageClass") else {}
        key_id = {"kms_key_id": given["SSEKMSKeyId"]} if given.get("SSEKMSKeyId") else {}
        return self._backend().put_object(given["Bucket"], given["Key"], b"", **storage, **key_id, **more)

    @contextmanager
    def _body(self, source: Any, start: int = 0, length: int = -1) -> Iterator[Path]:
        """Yields a file with an object's content, or a range of it."""
        with s3_objects.new_body(self._twin) as body:
            body.touch(mode=0o600)
            with self._twin.lock:
                s3_objects.write_body(source, body, start, length)
            yield body

    def _backend(self) -> Any:
        from moto.s3.models import s3_backends

        return s3_backends[self._twin.account]["aws"]


def _parts(upload: Any, listed: list[Document]) -> list[Any]:
    """Returns the parts that a CompleteMultipartUpload lists, in order, after checking them."""
    if not listed:
        raise AwsApiError("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")  # fmt: skip # noqa: E501
    numbers = [each["PartNumber"] for each in listed]
    if numbers != sorted(set(numbers)):
        text = "The list of parts was not in ascending order. The parts list must be specified in order by part number."
        raise AwsApiError("InvalidPartOrder", text)
    parts = [upload.parts.get(number) for number in numbers]
    for each, part in zip(listed, parts, strict=True):
        given = each.get("ChecksumSHA256")
        if part is None or each["ETag"].strip('"') != part.etag.strip('"') or (given and given != _sum_of(part)):
            text = "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."  # fmt: skip # noqa: E501
            raise AwsApiError("InvalidPart", text)
    if any(part.size < _SMALLEST_PART for part in parts[:-1]):
        raise AwsApiError("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
    return parts


def _sum_of(part: Any) -> str:
    """Returns the SHA-256 of a part in base64: stored for a copied part, computed for an uploaded one."""
    return part.checksum_value or base64.b64encode(sha256(part.value).digest()).decode()


def _digests(path: Path) -> tuple[str, str]:
    """Returns a file's SHA-256 in base64, and its MD5 in the form of an ETag."""
    with path.open("rb") as file:
        try:
            os.lseek(file.fileno(), 0, os.SEEK_DATA)
        except OSError:
            return _digests_of_zeros(path.stat().st_size)  # the file is one hole
        file.seek(0)
        return _digests_of(iter(lambda: file.read(_PIECE), b""))


@cache
def _digests_of_zeros(size: int) -> tuple[str, str]:
    zeros = bytes(_PIECE)
    return _digests_of(zeros[: min(_PIECE, size - at)] for at in range(0, size, _PIECE))


def _digests_of(pieces: Iterable[bytes]) -> tuple[str, str]:
    digest, tag = sha256(), md5(usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
        tag.update(piece)
    return base64.b64encode(digest.digest()).decode(), tag.hexdigest()


def _algorithm(upload: Any) -> str:
    return str(upload.metadata.get("x-amz-checksum-algorithm") or "")


def _keep_sum(key: Any, digest: str, kind: str, parts: int | None = None) -> None:
    key.checksum_algorithm, key.checksum_value = _ALGORITHM, digest
    key.checksum_type, key.checksum_parts = kind, parts


def _checksum_of(key: Any) -> Document:
    """Returns an object's checksum in the form of responses; empty without one."""
    if key.checksum_algorithm != _ALGORITHM or not key.checksum_value:
        return {}
    return {"ChecksumSHA256": _qualified(key), "ChecksumType": key.checksum_type or "FULL_OBJECT"}


def _qualified(key: Any) -> str:
    return f"{key.checksum_value}-{key.checksum_parts}" if key.checksum_type == "COMPOSITE" else key.checksum_value


def _written(key: Any) -> Document:
    """Returns the version and encryption fields for responses to writes."""
    version = {"VersionId": key.version_id} if key.version_id != "null" else {}
    encrypted = {"ServerSideEncryption": key.encryption} if key.encryption else {}
    kms = {"SSEKMSKeyId": key.kms_key_id} if key.encryption == "aws:kms" and key.kms_key_id else {}
    return {**version, **encrypted, **kms}


def _metadata(given: Document) -> Document:
    found = {f"x-amz-meta-{name}": value for name, value in (given.get("Metadata") or {}).items()}
    return found | {"Content-Type": given.get("ContentType") or "binary/octet-stream"}


def _refuse_wrong_sum(call: ApiCall) -> None:
    given = call.parameters.get("ChecksumSHA256")
    if given is None:
        return
    try:
        digest = base64.b64decode(given, validate=True)
    except ValueError:
        digest = b""
    if len(digest) != sha256().digest_size:
        raise _invalid("Value for x-amz-checksum-sha256 header is invalid.")
    if digest != sha256(call.parameters.get("Body") or b"").digest():
        raise AwsApiError("BadDigest", "The SHA256 you specified did not match the calculated checksum.")


def _add_checksum_types() -> None:
    """Adds to moto's HeadObject the checksum type, and the number of parts in a composite checksum."""
    from moto.s3.responses import S3Response

    if hasattr(S3Response.head_object, "_of_twin"):
        return
    original = S3Response.head_object

    def head_object(self: Any, bucket_name: str, query: Any, key_name: str, headers: Any) -> Any:
        status, found, body = original(self, bucket_name, query, key_name, headers)
        for name in [name for name in found if name.startswith("x-amz-checksum-")]:
            key = self.backend.get_object(bucket_name, key_name, version_id=query.get("versionId", [None])[0])
            found |= {name: _qualified(key), "x-amz-checksum-type": key.checksum_type or "FULL_OBJECT"}
        return status, found, body

    setattr(head_object, "_of_twin", True)  # noqa: B010
    setattr(S3Response, "head_object", head_object)  # noqa: B010


def _invalid(message: str) -> AwsApiError:
    return AwsApiError("InvalidRequest", message)


def _precondition(condition: str) -> AwsApiError:
    text = "At least one of the pre-conditions you specified did not hold"
    return AwsApiError("PreconditionFailed", text, 412, Condition=condition)
