"""Which refusals of an endpoint pass: by a server that refuses as the clouds do, with their own clients."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config

from llmops_kit.cli.platforms.aws import invocations as aws
from llmops_kit.cli.platforms.azure import invocations as azure
from llmops_kit.clouds.aws.session import _CONFIGS as AWS_CONFIGS
from llmops_kit.core.errors import BusyError, KitError
from tests.support.servers.http_servers import serving


class Refuser(HTTPServer):
    """Answers each request with one status, headers and body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Refuser)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(self.server.body).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def refuser() -> Iterator[Refuser]:
    with serving(Refuser()) as server:
        yield server


@pytest.mark.parametrize(
    ("status", "code", "original", "kind"),
    [
        (424, "ModelError", 503, BusyError),
        (424, "ModelError", 429, BusyError),
        (424, "ModelError", 500, KitError),
        (503, "ServiceUnavailable", 0, BusyError),
        (400, "ThrottlingException", 0, BusyError),
        (429, "ModelNotReadyException", 0, BusyError),
        (400, "ValidationError", 0, KitError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_of_sagemaker(refuser: Refuser, status: int, code: str, original: int, kind: type, stream: bool) -> None:
    refuser.status, refuser.headers = status, {"x-amzn-ErrorType": code}
    refuser.body = {"Message": "not now", "OriginalStatusCode": original, "OriginalMessage": "not now"}
    keys = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "x", "region_name": "eu-central-1"}
    client = boto3.client(
        "sagemaker-runtime", endpoint_url=refuser.url, config=Config(**AWS_CONFIGS["sagemaker-runtime"]), **keys
    )
    with pytest.raises(KitError, match="not now") as caught:
        list(aws.ask(lambda _: client, "chat", "name", {"stream": stream}))  # type: ignore[arg-type]
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("status", "of_the_model", "kind"),
    [
        (429, "", BusyError),
        (503, "", BusyError),
        (424, "503", BusyError),
        (424, "429", BusyError),
        (424, "400", KitError),
        (424, "", KitError),
        (408, "", KitError),
    ],
)
def test_of_azure(refuser: Refuser, status: int, of_the_model: str, kind: type) -> None:
    refuser.status = status
    refuser.headers = {"ms-azureml-model-error-statuscode": of_the_model} if of_the_model else {}
    refuser.body = {"error": {"message": "not now"}}
    session = SimpleNamespace(token=lambda _scope: "token")
    with pytest.raises(KitError, match="not now") as caught:
        list(azure.ask(session, "chat", refuser.url, {}))  # type: ignore[arg-type]
    assert type(caught.value) is kind
