"""The identity of a GitHub workflow: a new identity token at each exchange."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.identity import ClientAssertionCredential, DefaultAzureCredential

from llmops_kit.clouds.azure.federation import federated_credential, identity_token
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.errors import KitError

IDENTITY = {"ARM_USE_OIDC": "true", "ARM_TENANT_ID": "tenant", "ARM_CLIENT_ID": "client"}


class Issuer(ThreadingHTTPServer):
    """GitHub's issuer of identity tokens, which tells its tokens apart by a number."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.audiences: list[str] = []

    @property
    def environ(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.server_port}/token?api-version=2.0"
        return {**IDENTITY, "ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "the job's"}


class _Handler(BaseHTTPRequestHandler):
    server: Issuer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        allowed = self.headers["Authorization"] == "Bearer the job's"
        self.server.audiences += parse_qs(urlsplit(self.path).query)["audience"]
        self.send_response(200 if allowed else 403)
        self.end_headers()
        self.wfile.write(json.dumps({"value": f"token {len(self.server.audiences)}"}).encode())

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002  # the name of the overridden parameter
        pass


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_each_exchange_gets_a_token_that_is_still_valid(issuer: Issuer) -> None:
    assert [identity_token(issuer.environ) for _ in range(2)] == ["token 1", "token 2"]
    assert issuer.audiences == ["api://AzureADTokenExchange"] * 2


def test_a_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    environ = {**IDENTITY, "ARM_OIDC_TOKEN_FILE_PATH": str(file)}
    for written in ("one\n", "two"):
        file.write_text(written)
        assert identity_token(environ) == written.strip()
    file.unlink()
    with pytest.raises(KitError, match="can't be read"):
        identity_token(environ)


def test_a_job_without_the_permission_is_told_which(issuer: Issuer) -> None:
    with pytest.raises(KitError, match="issues no identity token: status 403") as caught:
        identity_token({**issuer.environ, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "somebody else's"})
    assert "id-token: write" in caught.value.fix
    with pytest.raises(KitError, match="there is no identity token") as caught:
        federated_credential(IDENTITY, "")
    assert "id-token: write" in caught.value.fix


@pytest.mark.parametrize("url", ["http://example.com/token", "file:///etc/passwd"])
def test_the_jobs_token_is_sent_by_https_only(url: str) -> None:
    with pytest.raises(KitError, match="https only"):
        identity_token({**IDENTITY, "ARM_OIDC_REQUEST_URL": url, "ARM_OIDC_REQUEST_TOKEN": "x"})


@pytest.mark.parametrize("name", ["ARM_TENANT_ID", "ARM_CLIENT_ID"])
def test_an_incomplete_identity_is_named(issuer: Issuer, name: str) -> None:
    with pytest.raises(KitError) as caught:
        federated_credential({**issuer.environ, name: ""}, "")
    assert caught.value.where == f"${name}"


def test_a_session_takes_it_where_the_environment_asks_for_it(issuer: Issuer) -> None:
    for environ, kind in ((issuer.environ, ClientAssertionCredential), ({}, DefaultAzureCredential)):
        with mock.patch.dict("os.environ", environ, clear=True):
            assert isinstance(AzureSession().credential, kind)
