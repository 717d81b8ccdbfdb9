"""What one call copies: sizes that no test writes, as holes."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmops_twins.aws import s3_objects
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.object_bodies import ObjectBody
from llmops_twins.aws.server import install
from llmops_twins.aws.services.s3.copies import LARGEST_SOURCE
from llmops_twins.aws.twin import AccountTwin, TwinSettings


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[AccountTwin]:
    twin = AccountTwin(tmp_path, TwinSettings(judge="off"))
    install(twin)
    twin.reset()
    yield twin
    twin.reset()
    twin.close()


def ask(twin: AccountTwin, operation: str, **given: Any) -> Any:
    handler = twin.handler("s3", operation)
    assert handler
    return handler(ApiCall("s3", operation, {"Bucket": "b-of-tests", **given}, "", "us-east-1", ""))


def test_one_call_copies_5_gb_and_no_more(twin: AccountTwin) -> None:
    from moto.s3.models import s3_backends

    backend: Any = s3_backends[twin.account]["aws"]
    backend.create_bucket("b-of-tests", "us-east-1")
    with s3_objects.new_body(twin) as body:
        body.touch()
        os.truncate(body, LARGEST_SOURCE + 1)
        s3_objects.give_body(backend.put_object("b-of-tests", "huge", b"", etag="0" * 32), body)
    source = {"Bucket": "b-of-tests", "Key": "huge"}
    with pytest.raises(AwsApiError, match="maximum allowable size for a copy source: 5368709120"):
        ask(twin, "CopyObject", Key="copy", CopySource=source)
    upload = backend.create_multipart_upload("b-of-tests", "copy", {}, "STANDARD", {}, None, "", "")
    given = {"Key": "copy", "UploadId": upload.id, "PartNumber": 1, "CopySource": source}
    with pytest.raises(AwsApiError, match="maximum allowable size: 5368709120"):
        ask(twin, "UploadPartCopy", **given)


def test_holes_and_zeros_are_copied_as_holes(tmp_path: Path) -> None:
    piece, source, target = 1 << 20, tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.write(bytes(piece) + b"a" * piece)
        file.seek(200 * piece)
        file.write(b"b" * piece)
    target.write_bytes(b"before")
    key = SimpleNamespace(_value_buffer=ObjectBody(source), size=source.stat().st_size)
    s3_objects.write_body(key, target)
    assert target.read_bytes() == b"before" + source.read_bytes()
    assert target.stat().st_blocks * 512 < 4 * piece
    target.write_bytes(b"")
    s3_objects.write_body(key, target, 2 * piece - 1, 3)
    assert target.read_bytes() == b"a\0\0"
