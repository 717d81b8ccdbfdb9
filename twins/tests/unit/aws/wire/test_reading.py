"""Requests are read by the services' models, whatever their protocol, address style or signature."""

import io
from typing import Any

import pytest
from moto.moto_server.werkzeug_app import BackendRequest

from llmops_twins.aws import request_pipeline
from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.wire import authentication, reading
from llmops_twins.aws.wire.refusals import Refusals
from llmops_twins.aws.wire.signatures import Signer, signature_of


def environ(
    method: str = "POST", path: str = "/", query: str = "", body: bytes = b"", host: str = "127.0.0.1:1", **headers: str
) -> dict[str, Any]:
    given = {f"HTTP_{name.upper()}": value for name, value in headers.items() if name != "content_type"}
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "1",
        "HTTP_HOST": host,
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": headers.get("content_type", ""),
        **given,
    }


def signed(service: str) -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=x"
    )


@pytest.mark.parametrize(
    ("service", "content_type", "protocol"),
    [
        ("sagemaker", "application/x-amz-json-1.1", "json"),
        ("sagemaker", "", "json"),
        ("iam", "application/x-www-form-urlencoded; charset=utf-8", "query"),
        ("ec2", "application/x-www-form-urlencoded", "ec2"),
        ("cloudwatch", "application/x-www-form-urlencoded", "query"),
        ("cloudwatch", "application/x-amz-json-1.0", "json"),
        ("scheduler", "application/json", "rest-json"),
        ("s3", "application/json", "rest-xml"),
        ("iam", "application/x-amz-json-1.1", "query"),
    ],
)
def test_headers_name_the_protocol(service: str, content_type: str, protocol: str) -> None:
    request = reading.request_of(environ(content_type=content_type))
    assert reading.protocol_of(request, reading.model_of(service)) == protocol


@pytest.mark.parametrize(
    ("given", "service", "operation", "parameters"),
    [
        (
            environ(
                body=b'{"EndpointName": "e"}',
                x_amz_target="SageMaker.DescribeEndpoint",
                authorization=signed("sagemaker"),
            ),
            "sagemaker",
            "DescribeEndpoint",
            {"EndpointName": "e"},
        ),
        (
            environ(path="/endpoints/e/invocations", body=b"{}", authorization=signed("sagemaker")),
            "sagemaker-runtime",
            "InvokeEndpoint",
            {"EndpointName": "e", "Body": b"{}"},
        ),
        (
            environ(
                body=b"Action=GetRole&RoleName=r&Version=2010-05-08",
                content_type="application/x-www-form-urlencoded",
                authorization=signed("iam"),
            ),
            "iam",
            "GetRole",
            {"RoleName": "r"},
        ),
        (
            environ("GET", "/bucket/a b", "versionId=1", authorization=signed("s3")),
            "s3",
            "GetObject",
            {"Bucket": "bucket", "Key": "a b", "VersionId": "1"},
        ),
        (
            environ("GET", "/bucket", "list-type=2&prefix=a", authorization=signed("s3")),
            "s3",
            "ListObjectsV2",
            {"Bucket": "bucket", "Prefix": "a"},
        ),
        (
            environ(
                body=b"Action=AssumeRoleWithWebIdentity&RoleArn=a&RoleSessionName=s&WebIdentityToken=t&Version=2011-06-15",
                content_type="application/x-www-form-urlencoded",
            ),
            "sts",
            "AssumeRoleWithWebIdentity",
            {"RoleArn": "a", "RoleSessionName": "s", "WebIdentityToken": "t"},
        ),
    ],
)
def test_operation_and_parameters_are_found(
    given: dict[str, Any], service: str, operation: str, parameters: dict[str, Any]
) -> None:
    request = BackendRequest(given)
    assert authentication.guessed(request).service == service
    found = reading.read(request, service)
    assert found.name == operation
    assert parameters.items() <= found.parameters.items()


def test_who_signed_is_read_from_header_and_query() -> None:
    words = Refusals("s3", "rest-xml")
    made = "20260101T000000Z"
    by_header = signature_of(BackendRequest(environ(authorization=signed("kms"), x_amz_date=made)), words)
    assert by_header
    assert by_header.signer == Signer("AKIA", "eu-west-1", "kms", "20260101")
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20260101%2Feu-west-1%2Fs3%2Faws4_request&"
        "X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=x"
    )
    by_url = signature_of(BackendRequest(environ("GET", query=query)), words)
    assert by_url
    assert (by_url.signer, by_url.seconds) == (Signer("AKIA", "eu-west-1", "s3", "20260101"), 60)
    assert signature_of(BackendRequest(environ()), words) is None
    with pytest.raises(AwsApiError, match="Only one auth mechanism allowed"):
        signature_of(BackendRequest(environ("GET", query=query, authorization=signed("s3"), x_amz_date=made)), words)
    with pytest.raises(AwsApiError, match="Query-string authentication version 4 requires"):
        signature_of(BackendRequest(environ("GET", query=query + "&X-Amz-Signature=y")), words)


def test_an_operation_that_is_none() -> None:
    request = BackendRequest(environ(x_amz_target="SageMaker.Nonsense", authorization=signed("sagemaker")))
    with pytest.raises(AwsApiError) as refusal:
        reading.read(request, "sagemaker")
    assert refusal.value.code == "UnknownOperationException"
    with pytest.raises(AwsApiError) as refusal:
        reading.model_of("nonsense")
    assert refusal.value.code == "UnknownService"


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("bucket.localhost:1", "/bucket/key"),
        ("my.bucket.s3.localhost:1", "/my.bucket/key"),
        ("bucket.s3.us-east-1.localhost", "/bucket/key"),
        ("localhost:1", "/key"),
        ("127.0.0.1:1", "/key"),
    ],
)
def test_buckets_in_the_host_become_the_paths_first_part(host: str, path: str) -> None:
    given = environ("GET", "/key", host=host)
    reading.to_path_style(given)
    assert given["PATH_INFO"] == path


def test_what_changes_state() -> None:
    changes = ("CreateModel", "PutObject", "AssumeRole", "BatchDeleteImage", "TagResource", "UpdateEndpoint")
    reads = ("DescribeEndpoint", "ListModels", "GetObject", "HeadObject", "BatchGetImage")
    assert [request_pipeline.mutates(name) for name in changes] == [True] * 6
    assert [request_pipeline.mutates(name) for name in reads] == [False] * 5
