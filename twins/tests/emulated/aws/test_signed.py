"""Whose signature a request has is verified in full: by boto3's signatures, and by what somebody made of them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from unittest import mock
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from llmops_twins.aws.wire.signatures import signed as signature_of
from llmops_twins.aws.wire.signatures import signing_key
from tests.support.clouds.twin_keys import root_keys, signed
from twins.tests.support.aws import RunningTwin

REGION = "us-east-1"
USERS = b"Action=ListUsers&Version=2010-05-08"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
pytestmark = pytest.mark.vulnerability(3)


def keys_of(twin: RunningTwin) -> tuple[str, str]:
    found = root_keys(twin.home)
    return found["aws_access_key_id"], found["aws_secret_access_key"]


@pytest.fixture(scope="module")
def bucket(twin: RunningTwin) -> str:
    twin.client("s3").create_bucket(Bucket="signed-for")
    twin.client("s3").put_object(Bucket="signed-for", Key="a key", Body=b"content")
    return "signed-for"


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [
        ("iam", lambda client: client.list_users(), "SignatureDoesNotMatch"),
        ("sts", lambda client: client.get_caller_identity(), "SignatureDoesNotMatch"),
        ("s3", lambda client: client.list_buckets(), "SignatureDoesNotMatch"),
        ("sagemaker", lambda client: client.list_models(), "InvalidSignatureException"),
        ("scheduler", lambda client: client.list_schedules(), "InvalidSignatureException"),
    ],
)
def test_vulnerability_3_another_secret_is_refused(
    twin: RunningTwin, service: str, call: Callable[[Any], Any], code: str
) -> None:
    with pytest.raises(ClientError) as refused:
        call(twin.client(service, secret="stand-in-secret-of-the-twin-opens-nothing"))
    assert refused.value.response["Error"]["Code"] == code
    assert "signature we calculated does not match" in refused.value.response["Error"]["Message"]
    with pytest.raises(ClientError) as refused:
        call(twin.client(service, key="AKIAIOSFODNN7EXAMPLE", secret="x"))
    unknown = ("InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException")
    assert refused.value.response["Error"]["Code"] in unknown


def changed(headers: dict[str, str], **changes: str) -> dict[str, str]:
    return headers | {name.replace("_", "-"): value for name, value in changes.items()}


def test_vulnerability_3_a_request_that_was_changed_on_its_way_is_refused(twin: RunningTwin, bucket: str) -> None:
    def users(body: bytes = USERS, path: str = "/", **headers: str) -> tuple[int, bytes]:
        written = signed("POST", f"{twin.info.url}/", "iam", keys_of(twin), body=USERS, headers=FORM)
        return twin.raw("POST", path, body, **changed(written, **headers))

    assert users()[0] == 200
    for refused in (
        users(body=USERS + b"&MaxItems=1"),
        users(path="/?MaxItems=1"),
        users(path="/else"),
        users(Content_Type="application/x-www-form-urlencoded; charset=utf-8"),
        users(X_Amz_Target="AnythingElse"),
        users(Host="localhost:1"),
    ):
        assert (refused[0], b"SignatureDoesNotMatch" in refused[1]) == (403, True), refused
    url, path = f"{twin.info.url}/{bucket}/a%20key", f"/{bucket}/a%20key"
    for method, sent, given, code in (
        ("PUT", b"other", {}, b"XAmzContentSHA256Mismatch"),
        ("PUT", b"content", {"x-amz-acl": "public-read"}, b"AccessDenied"),
        ("PUT", b"content", {"x-amz-content-sha256": sha256(b"other").hexdigest()}, b"XAmzContentSHA256Mismatch"),
        ("PUT", b"content", {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, b"SignatureDoesNotMatch"),
        ("PUT", b"content", {"x-amz-content-sha256": "nonsense"}, b"InvalidArgument"),
    ):
        headers = signed(method, url, "s3", keys_of(twin), body=b"content")
        status, answer = twin.raw(method, path, sent, **{**_without(headers, given), **given})
        assert (status in (400, 403), code in answer) == (True, True), answer
    assert twin.client("s3").get_object(Bucket=bucket, Key="a key")["Body"].read() == b"content"


def _without(headers: dict[str, str], names: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in names}


@pytest.mark.parametrize("minutes", [-16, 16, -24 * 60])
def test_vulnerability_3_a_clock_may_differ_by_fifteen_minutes(twin: RunningTwin, bucket: str, minutes: int) -> None:
    def at(off: float, service: str, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
        method = "POST" if body else "GET"
        with mock.patch.object(botocore.auth, "get_current_datetime", return_value=_now() + timedelta(minutes=off)):
            url = f"{twin.info.url}{path}"
            written = signed(method, url, service, keys_of(twin), body=body, headers=headers)
        return twin.raw(method, path, body, **written)

    target = {"X-Amz-Target": "SageMaker.ListModels", "Content-Type": "application/x-amz-json-1.1"}
    word = b"Signature expired" if minutes < 0 else b"Signature not yet current"
    for service, path, body, headers, code, words in (
        ("iam", "/", USERS, FORM, b"SignatureDoesNotMatch", word),
        ("sagemaker", "/", b"{}", target, b"InvalidSignatureException", word),
        ("s3", f"/{bucket}", b"", {}, b"RequestTimeTooSkewed", b"too large"),
    ):
        status, answer = at(minutes, service, path, body, **headers)
        assert (status, code in answer, words in answer) == (403, True, True), answer
        assert at(minutes / abs(minutes) * 14, service, path, body, **headers)[0] == 200


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def test_vulnerability_3_a_signature_is_for_one_service_region_and_day(twin: RunningTwin) -> None:
    for service, code in (("ec2", b"SignatureDoesNotMatch"), ("sagemaker", b"InvalidSignatureException")):
        headers = signed("POST", f"{twin.info.url}/", service, keys_of(twin), body=b"", headers=FORM)
        status, answer = twin.raw("POST", "/", b"", **headers)
        if service == "ec2":
            assert (status, code in answer, b"scoped to correct service" in answer) == (403, True, True)
    good = signed("POST", f"{twin.info.url}/", "iam", keys_of(twin), body=USERS, headers=FORM)
    day = good["X-Amz-Date"][:8]
    for old, new, told in (
        (f"/{day}/", "/20200101/", "Date in Credential scope"),
        (f"/{REGION}/", "/eu-west-1/", "does not match"),
        (f"/{REGION}/", "/../", "valid region"),
        ("/iam/", "/sts/", "does not match"),
        ("aws4_request", "aws5_request", "valid terminator"),
        ("host;", "", "'Host' or ':authority' must be"),
        ("SignedHeaders=", "Other=", "requires 'SignedHeaders' parameter"),
    ):
        headers = good | {"Authorization": good["Authorization"].replace(old, new)}
        status, answer = twin.raw("POST", "/", USERS, **headers)
        assert (status in (400, 403), told in answer.decode()) == (True, True), answer


def test_vulnerability_3_a_session_is_its_key_and_its_token(twin: RunningTwin) -> None:
    iam, trust = twin.client("iam"), {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName="assumed", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    given = twin.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    other = twin.client("sts").assume_role(RoleArn=role, RoleSessionName="you")["Credentials"]
    keys = (given["AccessKeyId"], given["SecretAccessKey"])
    who = twin.client("sts", *keys, given["SessionToken"]).get_caller_identity()
    assert who["Arn"].endswith(":assumed-role/assumed/me")
    root = keys_of(twin)
    for (key, secret), token in ((keys, None), (keys, other["SessionToken"]), (root, given["SessionToken"])):
        with pytest.raises(ClientError, match="InvalidClientTokenId"):
            twin.client("sts", key, secret, token).get_caller_identity()
    iam.create_user(UserName="retired")
    made = iam.create_access_key(UserName="retired")["AccessKey"]
    own = (made["AccessKeyId"], made["SecretAccessKey"])
    assert twin.client("sts", *own).get_caller_identity()["Arn"].endswith(":user/retired")
    iam.update_access_key(UserName="retired", AccessKeyId=own[0], Status="Inactive")
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        twin.client("sts", *own).get_caller_identity()


def fetched(url: str, data: bytes | None = None, method: str = "GET") -> tuple[int, bytes]:
    try:
        with urlopen(Request(url, data, method=method), timeout=120) as answer:
            return answer.status, answer.read()
    except HTTPError as e:
        with e:
            return e.code, e.read()


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_vulnerability_3_a_signed_url_is_for_one_object_method_and_time(
    twin: RunningTwin, bucket: str, version: str
) -> None:
    import boto3

    config = Config(signature_version=version)
    s3 = boto3.client("s3", region_name=REGION, endpoint_url=twin.info.url, config=config, **root_keys(twin.home))
    given = {"Bucket": bucket, "Key": "a key"}
    url = s3.generate_presigned_url("get_object", given)
    assert fetched(url) == (200, b"content")
    put = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "put"})
    parts = urlsplit(put)
    assert twin.raw("PUT", f"{parts.path}?{parts.query}", b"by url")[0] == 200  # urllib adds a type, which V2 signs
    name = "X-Amz-Signature=" if version == "s3v4" else "Signature="
    over = s3.generate_presigned_url("get_object", given, ExpiresIn=-1 if version == "s3" else 0)
    for wrong in (
        url.replace("a%20key", "put"),
        url.replace(name, f"{name}A"),
        url + "&versionId=null",
        url + "&acl=",
        url.replace("Expires=", "Expires=9"),
        over,
    ):
        assert fetched(wrong)[0] in (400, 403), wrong
    assert fetched(url, b"x", "PUT")[0] == 403
    assert fetched(url, None, "DELETE")[0] == 403
    s3.close()


def streamed(twin: RunningTwin, path: str, kind: str, pieces: list[bytes], trailer: str = "") -> tuple[int, bytes]:
    """An object in chunks, as other SDKs than boto3 send it over HTTP."""
    content = b"".join(pieces)
    access_key, secret = keys_of(twin)
    own = {
        "X-Amz-Content-SHA256": kind,
        "Content-Encoding": "aws-chunked",
        "X-Amz-Decoded-Content-Length": str(len(content)),
        **({"X-Amz-Trailer": trailer.partition(":")[0]} if trailer else {}),
    }
    request = AWSRequest("PUT", f"{twin.info.url}{path}", own, b"")
    SigV4Auth(Credentials(access_key, secret), "s3", REGION).add_auth(request)
    time, last = request.headers["X-Amz-Date"], request.headers["Authorization"].rpartition("=")[2]
    scope, key = f"{time[:8]}/{REGION}/s3/aws4_request", signing_key(secret, time[:8], REGION, "s3")
    body = b""
    for piece in [*pieces, b""]:
        digests = f"{sha256(b'').hexdigest()}\n{sha256(piece).hexdigest()}"
        last = signature_of(key, f"AWS4-HMAC-SHA256-PAYLOAD\n{time}\n{scope}\n{last}\n{digests}")
        mark = f";chunk-signature={last}" if "UNSIGNED" not in kind else ""
        body += f"{len(piece):x}{mark}\r\n".encode() + (piece + b"\r\n" if piece else b"")
    if trailer:
        digest = sha256(f"{trailer}\n".encode()).hexdigest()
        last = signature_of(key, f"AWS4-HMAC-SHA256-TRAILER\n{time}\n{scope}\n{last}\n{digest}")
        body += f"{trailer}\r\n".encode()
        body += b"" if "UNSIGNED" in kind else f"x-amz-trailer-signature:{last}\r\n".encode()
    return twin.raw("PUT", path, body + b"\r\n", **dict(request.headers.items()))


@pytest.mark.parametrize(
    ("kind", "trailer"),
    [
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", ""),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "x-amz-checksum-crc32:h3UGqQ=="),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-checksum-crc32:h3UGqQ=="),
    ],
)
def test_vulnerability_3_objects_in_chunks(twin: RunningTwin, bucket: str, kind: str, trailer: str) -> None:
    pieces = [b"first\r\n0;chunk" * 1000, b"second"]
    assert streamed(twin, f"/{bucket}/in-chunks", kind, pieces, trailer)[0] == 200
    found = twin.client("s3").get_object(Bucket=bucket, Key="in-chunks")
    assert found["Body"].read() == b"".join(pieces)
    assert "ContentEncoding" not in found


def test_vulnerability_3_urls_of_other_services(twin: RunningTwin) -> None:
    """As `aws eks get-token` and Vault make them: a signed GetCallerIdentity."""
    url = twin.client("sts").generate_presigned_url("get_caller_identity", HttpMethod="GET")
    assert b":root</Arn>" in fetched(url)[1]
    parts = urlsplit(url)
    assert fetched(f"{twin.info.url}/?{parts.query}&RoleName=x")[0] == 403
