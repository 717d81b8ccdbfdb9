"""What keeps a run from being tracked is named before it starts; no secret is shown."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from llmops_kit.cli.tracking.mlflow_client import URI_VARIABLE, masked, require_mlflow
from llmops_kit.cli.tracking.mlflow_sync import alias_of
from llmops_kit.core.errors import KitError
from tests.support.servers.http_servers import serving


class _Old(BaseHTTPRequestHandler):
    """Says of itself what a server of MLflow 2 says."""

    def do_GET(self) -> None:
        content = b"2.22.1" if self.path == "/version" else b""
        self.send_response(200 if content else 404)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def old_server() -> Iterator[str]:
    with serving(HTTPServer(("127.0.0.1", 0), _Old)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def test_a_server_of_another_major_version_is_refused_and_one_that_is_down_is_not(
    old_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    require_mlflow(said.append)
    assert said == []
    monkeypatch.setenv(URI_VARIABLE, old_server)
    with pytest.raises(KitError) as caught:
        require_mlflow(said.append)
    assert "MLflow 2.22.1" in caught.value.what
    assert "MLflow 3" in caught.value.fix
    monkeypatch.setenv(URI_VARIABLE, "http://127.0.0.1:1")
    require_mlflow(said.append)
    assert len(said) == 1
    assert "does not respond" in said[0]


@pytest.mark.parametrize(
    ("uri", "package"),
    [
        ("azureml://westeurope.api.azureml.ms/mlflow/v1.0/subscriptions/s", "azureml-mlflow"),
        ("arn:aws:sagemaker:us-east-1:123456789012:mlflow-tracking-server/team", "sagemaker-mlflow"),
    ],
)
def test_a_clouds_own_mlflow_needs_its_package(uri: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URI_VARIABLE, uri)
    with pytest.raises(KitError) as caught:
        require_mlflow(lambda _: None)
    assert caught.value.fix == f"pip install {package}"


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URI_VARIABLE, "https://me:p4ss@mlflow.example.com/x?key=k3y")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    shown = masked("403 for https://me:p4ss@mlflow.example.com/x?key=k3y with Bearer t0ken of p4ss")
    assert shown == "403 for https://***@mlflow.example.com/x?*** with Bearer *** of ***"


def test_an_alias_is_the_stack_and_an_endpoint_of_another_name() -> None:
    assert alias_of("production", "chatbot", "chatbot") == "production"
    assert alias_of("production", "assistant", "chatbot") == "production--assistant"
    assert alias_of("eu.dev", "chatbot", "chatbot") == "eu-dev"
    assert alias_of("v2", "chatbot", "chatbot") == "v2--chatbot"  # MLflow keeps v2 and latest for itself
