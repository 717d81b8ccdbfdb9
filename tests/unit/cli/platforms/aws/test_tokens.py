"""Bearer tokens: the form that AWS's own generator gives them. The twin judges them in tests/emulated."""

import base64
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from llmops_kit.cli.platforms.aws.base_images import base_image
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.invocations import bearer_token, openai_url
from llmops_kit.clouds.aws.location import AwsCaller
from llmops_kit.core.errors import KitError


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> AwsClients:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session",
        "AWS_REGION": "eu-central-1", "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    found = AwsClients("eu-central-1")
    found.__dict__["caller"] = AwsCaller("123456789012", "arn:aws:iam::123456789012:user/me", "eu-central-1", "")
    return found


def parts(token: str) -> dict[str, Any]:
    signed = base64.b64decode(token.removeprefix("sagemaker-api-key-")).decode()
    return {name: values[0] for name, values in parse_qs(urlsplit(f"https://{signed}").query).items()}


def test_a_token_is_a_signed_request(clients: AwsClients) -> None:
    token = bearer_token(clients, 1.5)
    assert token.startswith("sagemaker-api-key-")
    found = parts(token)
    assert found["Action"] == "CallWithBearerToken"
    assert found["X-Amz-Expires"] == "5400"
    assert found["X-Amz-Security-Token"] == "session"
    assert found["X-Amz-Credential"].split("/")[0] == "AKIAEXAMPLE"
    assert found["X-Amz-Credential"].endswith("/eu-central-1/sagemaker/aws4_request")
    assert found["Version"] == "1"
    assert "secret" not in base64.b64decode(token.removeprefix("sagemaker-api-key-")).decode()


def test_the_openai_route_of_an_endpoint(clients: AwsClients) -> None:
    assert openai_url(clients, "chat-1") == (
        "https://runtime.sagemaker.eu-central-1.amazonaws.com/endpoints/chat-1/openai/v1"
    )


def test_without_credentials_the_way_out_is_named(clients: AwsClients, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bare = AwsClients("eu-central-1")
    with pytest.raises(KitError, match="no AWS credentials to sign") as error:
        bearer_token(bare, 1)
    assert "aws sso login" in error.value.fix


def test_an_image_of_aws_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmops_kit.core.errors.find_spec", lambda _: None)
    with pytest.raises(KitError, match="sagemaker is not installed"):
        base_image("pytorch", "eu-central-1")
