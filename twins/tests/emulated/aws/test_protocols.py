"""Requests of every protocol find their operation, their principal and an answer in the service's own words."""

import http.client
import io
import json
from contextlib import closing
from urllib.request import urlopen

import pytest
from botocore.exceptions import ClientError

from llmops_kit.core.twins import key_headers
from llmops_twins.core.control import own_key
from twins.tests.support.aws import RunningTwin, made_role


def refusal(call, **parameters) -> ClientError:
    with pytest.raises(ClientError) as refused:
        call(**parameters)
    return refused.value


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("sts", "get_caller_identity", "InvalidClientTokenId"),
        ("iam", "list_users", "InvalidClientTokenId"),
        ("sagemaker", "list_models", "UnrecognizedClientException"),
        ("kms", "list_keys", "UnrecognizedClientException"),
        ("s3", "list_buckets", "InvalidAccessKeyId"),
    ],
)
def test_an_unknown_key_is_refused_as_on_aws(twin: RunningTwin, service: str, operation: str, code: str) -> None:
    error = refusal(getattr(twin.client(service, key="AKIAIOSFODNN7EXAMPLE"), operation))
    assert error.response["Error"]["Code"] == code
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_the_root_key_is_the_accounts_root(twin: RunningTwin) -> None:
    identity = twin.client("sts").get_caller_identity()
    assert identity["Account"] == "000000000000"
    assert identity["Arn"] == "arn:aws:iam::000000000000:root"


def test_users_and_sessions_are_who_they_are(twin: RunningTwin) -> None:
    iam = twin.client("iam")
    iam.create_user(UserName="ada")
    key = iam.create_access_key(UserName="ada")["AccessKey"]
    sts = twin.client("sts", key["AccessKeyId"], key["SecretAccessKey"])
    assert sts.get_caller_identity()["Arn"] == "arn:aws:iam::000000000000:user/ada"
    role = made_role(twin, "assumed")
    session = twin.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    keys = (session["AccessKeyId"], session["SecretAccessKey"])
    sts = twin.client("sts", *keys, token=session["SessionToken"])
    assert sts.get_caller_identity()["Arn"] == "arn:aws:sts::000000000000:assumed-role/assumed/me"
    without_token = refusal(twin.client("sts", *keys).get_caller_identity)
    assert without_token.response["Error"]["Code"] == "InvalidClientTokenId"
    iam.update_access_key(UserName="ada", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    error = refusal(twin.client("sts", key["AccessKeyId"], key["SecretAccessKey"]).get_caller_identity)
    assert error.response["Error"]["Code"] == "InvalidClientTokenId"


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("sagemaker", "list_inference_components", {}),
        ("iam", "get_human_readable_summary", {"EntityArn": "arn:aws:iam::000000000000:role/" + "x" * 20}),
        ("events", "list_endpoints", {}),
    ],
)
def test_what_is_not_implemented_is_told_at_once(
    twin: RunningTwin, service: str, operation: str, parameters: dict
) -> None:
    client = twin.client(service)
    error = refusal(getattr(client, operation), **parameters)
    assert error.response["ResponseMetadata"]["RetryAttempts"] == 0
    assert 400 <= error.response["ResponseMetadata"]["HTTPStatusCode"] < 500
    assert "This twin of AWS does not implement" in str(error)
    assert client.meta.method_to_api_mapping[operation] in str(error)


def test_a_service_that_is_none_is_told(twin: RunningTwin) -> None:
    status, body = twin.raw("POST", "/", b"{}", signed="nonsense")
    assert (status, json.loads(body)["__type"]) == (400, "UnknownService")


def test_wrong_parameters_are_refused_by_the_model(twin: RunningTwin) -> None:
    sagemaker = twin.client("sagemaker")
    error = refusal(sagemaker.describe_endpoint, EndpointName="under_score")
    assert error.response["Error"]["Code"] == "ValidationException"
    assert "failed to satisfy constraint: Member must satisfy regular expression pattern" in str(error)


def test_s3_in_path_style_and_as_a_host(twin: RunningTwin) -> None:
    s3 = twin.client("s3")
    s3.create_bucket(Bucket="localhost-styles")
    s3.put_object(Bucket="localhost-styles", Key="a b/c+d", Body=b"content")
    assert s3.get_object(Bucket="localhost-styles", Key="a b/c+d")["Body"].read() == b"content"
    for host in (
        "localhost-styles.localhost",
        "localhost-styles.s3.localhost",
        "localhost-styles.s3.us-east-1.localhost",
    ):
        found = twin.raw("GET", "/a%20b/c%2Bd", signed="s3", Host=f"{host}:{twin.info.port}")
        assert found == (200, b"content")
    url = s3.generate_presigned_url("get_object", {"Bucket": "localhost-styles", "Key": "a b/c+d"})
    with urlopen(url) as answer:
        assert answer.read() == b"content"


def test_s3_large_multipart_and_ranges(twin: RunningTwin) -> None:
    s3 = twin.client("s3")
    s3.create_bucket(Bucket="large")
    body = bytes(range(256)) * 80_000
    s3.upload_fileobj(io.BytesIO(body), "large", "big")
    assert s3.head_object(Bucket="large", Key="big")["ContentLength"] == len(body)
    assert s3.get_object(Bucket="large", Key="big", Range="bytes=300-309")["Body"].read() == body[300:310]
    error = refusal(s3.head_object, Bucket="large", Key="small")
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    error = refusal(s3.put_object, Bucket="large", Key="big", Body=b"", IfNoneMatch="*")
    assert error.response["Error"]["Code"] == "PreconditionFailed"


def test_a_connection_serves_many_requests(twin: RunningTwin) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", twin.info.port)) as connection:
        connection.connect()
        first = connection.sock
        for _ in range(3):
            connection.request("GET", "/_twin/health", headers=key_headers(own_key(twin.home)))
            assert json.loads(connection.getresponse().read())["ready"]
        assert connection.sock is first


@pytest.mark.usefixtures("no_faults")
def test_throttling_is_repeated_by_the_sdk(twin: RunningTwin) -> None:
    twin.fault("throttle", service="kms", operation="ListKeys", times=1)
    answer = twin.client("kms").list_keys()
    assert answer["ResponseMetadata"]["RetryAttempts"] == 1


def test_own_routes_say_what_there_is(twin: RunningTwin) -> None:
    key = key_headers(own_key(twin.home))
    status, body = twin.raw("GET", "/_twin/nonsense", b"", **key)
    assert (status, "GET health" in json.loads(body)["routes"]) == (404, True)
    status, body = twin.raw(
        "PUT", "/_twin/settings", json.dumps({"pace": -1}).encode(), **key_headers(own_key(twin.home))
    )
    assert (status, json.loads(body)["error"]) == (400, "not a setting, or not a value of it: pace")
    told = twin.ask("GET", "status")
    assert any("containers are not run" in line for line in told["not_judged"])
    assert told["judge"] == "off"


def test_sites_do_not_reach_it_through_a_browser(twin: RunningTwin) -> None:
    twin.client("s3").create_bucket(Bucket="private")
    for headers in (
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
    ):
        assert twin.raw("POST", "/_twin/reset", b"", **headers)[0] == 403
        assert twin.raw("GET", "/", b"", signed="s3", **headers)[0] == 403
    status, body = twin.raw("GET", "/", signed="s3")
    assert (status, b"<Name>private</Name>" in body) == (200, True)


@pytest.mark.parametrize("path", ["/endpoints/bot/invocations", "/endpoints/bot/invocations-response-stream"])
def test_an_unsigned_request_to_an_endpoint_is_refused_by_the_runtime(twin: RunningTwin, path: str) -> None:
    status, body = twin.raw("POST", path, b"{}", **{"Content-Type": "application/json"})
    assert (status, b"Missing Authentication Token" in body) == (403, True), body
    assert not body.startswith(b"<")
    status, body = twin.raw("GET", "/bucket/endpoints/invocations")
    assert (status, b"<Code>AccessDenied</Code>" in body) == (403, True)
