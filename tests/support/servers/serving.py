"""A serving process for tests: signed model version, environment as the local runtime gives it, a port of the system's
choice.
"""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmops_kit.core.integrity.signing import make_key, sign
from tests.support.checkout import IMPORT_PATH

API_KEY = "a-key-for-tests-0123456789"


def sign_version(version: Path, keys: Path) -> str:
    """Sign with the key in `keys`, made when it is not there; the version's identity."""
    (keys / "signing.pub").write_text(make_key(keys / "signing.key"))
    return sign(version, keys / "signing.key")


def until(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Wait for a condition; its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {condition}")
        time.sleep(0.02)
    return value


class ServingProcess:
    """`python -m llmops_kit.serving serve` for a signed version."""

    def __init__(
        self, version: Path, keys: Path, logs: Path, *, python: Path | str = sys.executable, **variables: str
    ) -> None:
        (keys / "api.key").write_text(API_KEY + "\n")
        self.log = logs / f"serving-{time.monotonic_ns()}.log"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(logs),
            "PYTHONPATH": IMPORT_PATH,
            "AZUREML_MODEL_DIR": str(version),
            "LLMOPS_BIND": "127.0.0.1",
            "SAGEMAKER_BIND_TO_PORT": "0",
            "LLMOPS_API_KEY_FILE": str(keys / "api.key"),
            "LLMOPS_PUBLIC_KEY_FILE": str(keys / "signing.pub"),
            "LLMOPS_MODEL_NAME": "tiny@1",
            "LLMOPS_PRECISION": "f32",
            "LLMOPS_LAME_DUCK_SECONDS": "0.3",
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(python), "-m", "llmops_kit.serving", "serve"], env=environment | variables, stdout=log, stderr=log
            )

    @property
    def port(self) -> int:
        return int(
            until(lambda: re.search(r"listening on [\d.]+:(\d+)", self.log.read_text()) or self._ended()).group(1)
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_ready(self, seconds: float = 600.0) -> "ServingProcess":
        until(lambda: self._ended() or self._pings(), seconds)
        return self

    def _pings(self) -> bool:
        try:
            return self.ask("GET", "/ping")[0] == 200
        except OSError:  # it ended between two looks, which the next one tells
            return False

    def ask(
        self, method: str, path: str, body: Any = None, key: str | None = API_KEY, **headers: str
    ) -> tuple[int, Any]:
        """Status and body, parsed where it is JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            if key is not None:
                headers["Authorization"] = f"Bearer {key}"
            data = body if body is None or isinstance(body, bytes) else json.dumps(body)
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            content = response.read()
            self.headers = response.headers
            if response.headers.get_content_type() == "application/json":
                return response.status, json.loads(content)
            return response.status, content.decode()
        finally:
            connection.close()

    def chat(self, text: str = "Hello", **fields: Any) -> tuple[int, Any]:
        """A chat completion of one message."""
        body = {"messages": [{"role": "user", "content": text}], "temperature": 0} | fields
        return self.ask("POST", "/v1/chat/completions", body)

    @contextmanager
    def stream(self, text: str = "Hello", **fields: Any) -> Iterator[Iterator[Any]]:
        """Events of a streamed completion, as they come; "[DONE]" is one. Leaving closes the connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "stream": True} | fields
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": f"Bearer {API_KEY}"})
        response = connection.getresponse()
        assert response.status == 200, response.read()

        def events() -> Iterator[Any]:
            while line := response.readline():
                if line.startswith(b"data: "):
                    data = line[6:].strip()
                    yield "[DONE]" if data == b"[DONE]" else json.loads(data)

        try:
            yield events()
        finally:
            response.close()
            connection.close()

    def metric(self, name: str) -> float:
        """A metric without labels."""
        text = self.ask("GET", "/metrics")[1]
        return float(re.search(rf"^{name} (\S+)$", text, re.M).group(1))  # pyright: ignore[reportOptionalMemberAccess]

    def engine_pid(self) -> int:
        """The engine's process; the check of schemas is a child of the server too."""
        engines = [
            child.pid
            for child in psutil.Process(self.process.pid).children()
            if child.status() != psutil.STATUS_ZOMBIE and "llmops_kit.serving.engines.worker" in child.cmdline()
        ]
        assert len(engines) == 1, engines
        return engines[0]

    def requests(self) -> list[dict[str, Any]]:
        """The log's lines about requests."""
        return [line for line in self._json() if "event" not in line]

    def quality(self) -> list[dict[str, Any]]:
        """The log's lines about the golden prompts."""
        return [line for line in self._json() if line.get("event") == "quality"]

    def _json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def last_line(self) -> str:
        """The log's end."""
        return self.log.read_text().strip().splitlines()[-1]

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def kill(self) -> None:
        """End at once."""
        self.process.kill()
        self.process.wait()

    def _ended(self) -> None:
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended:\n{self.log.read_text()[-4000:]}")


def flip_byte(path: Path, place: int = -1) -> None:
    """Change one bit of a file, keeping its size."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def text_of(answer: Any) -> str:
    """The text of a whole completion."""
    return answer["choices"][0]["message"]["content"]


def trickle(sock: socket.socket) -> int:
    """Send a header a time until the server cuts the connection, which it must; how many were sent, 100 at most."""
    sent = 0
    with pytest.raises(ConnectionError):  # noqa: PT012 (the cut comes at any of them)
        while sent < 100:
            sock.sendall(b"X-A: b\r\n")
            sent += 1
            try:
                if sock.recv(65536) == b"":
                    raise ConnectionResetError
            except TimeoutError:
                continue
    return sent


def send_all(sock: socket.socket, *parts: bytes) -> bytes:
    """Send bytes; everything that comes back until the other side closes."""
    with suppress(OSError):  # closed early, which is an answer too
        for part in parts:
            sock.sendall(part)
    received = b""
    with suppress(ConnectionError):
        while data := sock.recv(65536):
            received += data
    return received
