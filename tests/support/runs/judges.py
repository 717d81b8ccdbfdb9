"""A judge for tests: a real HTTP server with the OpenAI API, whose verdicts follow a rule and are kept."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.servers import http_servers

_PART = re.compile(r"<<<(\w{16}) ([A-Z ]+)>>>\n(.*?)\n<<<\1 END>>>", re.DOTALL)


class JudgeServer(ThreadingHTTPServer):
    """Right is an answer that holds the reference; all else is wrong."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.refusals: list[tuple[int, dict[str, str]]] = []
        """Statuses and headers of answers that come first, in this order."""
        self.reply = ""
        """Said instead of a verdict, if not empty."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


def parts_of(request: dict[str, Any]) -> dict[str, str]:
    """What a judge is shown, by the names of its parts."""
    return {name: text for _, name, text in _PART.findall(request["messages"][-1]["content"])}


def verdict_on(request: dict[str, Any]) -> dict[str, Any]:
    """The rule."""
    parts = parts_of(request)
    reference = parts["REFERENCE ANSWER"]
    if "ANSWER" in parts:
        return {"reason": "Compared.", "score": 5 if reference in parts["ANSWER"] else 1}
    first, second = (reference in parts[f"{order} ANSWER"] for order in ("FIRST", "SECOND"))
    return {"reason": "Compared.", "better": "tie" if first == second else "first" if first else "second"}


@contextmanager
def judging() -> Iterator[JudgeServer]:
    with http_servers.serving(JudgeServer()) as server:
        yield server


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        assert isinstance(server, JudgeServer)
        if server.refusals:
            status, headers = server.refusals.pop(0)
            self._send(status, {"error": {"message": "come again"}}, headers)
            return
        server.requests.append(request)
        server.keys.append(self.headers["Authorization"])
        content = server.reply or json.dumps(verdict_on(request))
        choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        self._send(200, {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}, {})

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""
