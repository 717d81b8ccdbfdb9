import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from llmops_kit.cli.chat_http import ask, connect, loaded_model
from llmops_kit.core.errors import KitError
from tests.support.servers.http_servers import serving


class Server(BaseHTTPRequestHandler):
    """Answers as the body's `model` asks: whole, stream, cut, broken (in the middle of a chunk), error, or a status."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer sk-1":
            self.reply(401, {"error": {"message": "wrong key"}})
        elif body["model"] == "whole":
            self.reply(200, {"n": 1})
        elif body["model"] == "busy":
            self.reply(429, {"error": {"message": "too many"}})
        elif body["model"] == "broken":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b'64\r\ndata: {"n": 1}\ndata: {"n":')
        else:
            self.send_response(200)
            self.end_headers()
            last = {"stream": "[DONE]", "cut": "", "error": '{"error": {"message": "engine died"}}'}[body["model"]]
            lines = [": comment", 'data: {"n": 1}', "", 'data: {"n": 2}', "", f"data: {last}" if last else ""]
            self.wfile.write("\n".join(lines).encode())

    def do_GET(self) -> None:
        self.reply(200, {"status": "ready", "sha256": "abc"})

    def reply(self, status: int, body: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with serving(HTTPServer(("127.0.0.1", 0), Server)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def test_whole_answers_and_streams(url: str) -> None:
    assert list(ask(url, "sk-1", {"model": "whole"})) == [{"n": 1}]
    assert list(ask(url, "sk-1", {"model": "stream", "stream": True})) == [{"n": 1}, {"n": 2}]
    assert loaded_model(url) == "abc"


@pytest.mark.parametrize(
    ("key", "model", "words"),
    [
        ("sk-2", "whole", "answers 401: wrong key"),
        ("sk-1", "busy", "answers 429: too many"),
        ("sk-1", "cut", "cut off before its end"),
        ("sk-1", "broken", "cut off before its end"),
        ("sk-1", "error", "broke off: engine died"),
    ],
)
def test_refusals_and_broken_streams_are_told(url: str, key: str, model: str, words: str) -> None:
    with pytest.raises(KitError, match=words) as caught:
        list(ask(url, key, {"model": model, "stream": True}))
    assert caught.value.where == url
    assert caught.value.fix


def test_nobody_there(url: str) -> None:
    nobody = "http://127.0.0.1:9"
    with pytest.raises(KitError, match="does not answer"):
        list(ask(nobody, "k", {}))
    assert loaded_model(nobody) == ""


class Proxy(BaseHTTPRequestHandler):
    """Opens no tunnel, and says so; keeps what it was asked."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_CONNECT(self) -> None:
        self.asked.append((self.path, self.headers["Proxy-Authorization"]))
        assert "Authorization" not in self.headers
        self.send_error(403, "not for you")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def test_a_judge_behind_a_companys_proxy(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("no_proxy", "NO_PROXY", "https_proxy", "http_proxy", "all_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    judge = "https://models.example.com/v1"
    with serving(HTTPServer(("127.0.0.1", 0), Proxy)) as proxy:
        address = f"127.0.0.1:{proxy.server_port}"
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:p%40ss@{address}")
        monkeypatch.setenv("HTTP_PROXY", address)
        with pytest.raises(KitError, match="Tunnel connection failed: 403 not for you"):
            list(ask(judge, "sk-1", {"model": "big"}))
        assert Proxy.asked == [("models.example.com:443", "Basic bWU6cEBzcw==")]
        assert connect(judge)[0].port == proxy.server_port
        assert list(ask(url, "sk-1", {"model": "whole"})) == [{"n": 1}]  # this machine's own endpoint
    monkeypatch.setenv("NO_PROXY", "other.org,.example.com")
    assert (connect(judge)[0].host, connect(judge)[1]) == ("models.example.com", "/v1")
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:secret@127.0.0.1:1")
    with pytest.raises(KitError, match="is not a proxy that can be used") as refused:
        connect(judge)
    assert "secret" not in str(refused.value)
