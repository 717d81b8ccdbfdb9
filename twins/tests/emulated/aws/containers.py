"""A container that does what each request tells it to, and a twin in this process whose endpoint it serves."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from botocore.config import Config
from werkzeug.serving import make_server

from llmops_twins.aws.request_pipeline import AwsFront
from llmops_twins.aws.sagemaker.fleet.fleet import AwsFleetCloud, Fleet, Lease, NoWorkerError
from llmops_twins.aws.server import install
from llmops_twins.aws.twin import AccountTwin, TwinSettings
from llmops_twins.aws.wire.handler import AwsRequestHandler
from tests.support.clouds.twin_keys import root_keys
from tests.support.servers.serving import until
from twins.tests.support.aws import session

REGION = "us-east-1"
ARN = f"arn:aws:sagemaker:{REGION}:000000000000:endpoint/chat"


class Container:
    """Serves on loopback. `go_on` lets a request continue that waits for it; `left` is set when one was given up."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.left = threading.Event()
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        container = self

        class Told(_Told):
            told_by = container

        self._server = _Server(("127.0.0.1", 0), Told)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02])
        self._thread.start()

    def close(self) -> None:
        """No longer listen."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be quiet: whoever asked has left."""
        self.left = request, client_address


class _Told(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    told_by: Container

    def setup(self) -> None:
        super().setup()
        self.told_by.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.told_by.requests.append(
            {"path": self.path, "body": body, **{k.lower(): v for k, v in self.headers.items()}}
        )
        told = json.loads(body) if body[:1] == b"{" else {}
        getattr(self, f"_{told.get('do', 'echo')}")(told, body)

    def _echo(self, told: dict[str, Any], body: bytes) -> None:
        self._answer(told.get("status", 200), told["say"].encode() if "say" in told else body, told.get("headers", {}))

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _wait(self, told: dict[str, Any], body: bytes) -> None:
        self._await_leaving()
        self._answer(200, body, {})

    def _await_leaving(self) -> None:
        """Until it may go on, or whoever asked has left."""
        self.connection.setblocking(False)
        while not self.told_by.go_on.wait(0.01):
            try:
                gone = self.connection.recv(1) == b""
            except BlockingIOError:
                continue
            except ConnectionError:
                gone = True
            if gone:
                self.told_by.left.set()
                raise ConnectionAbortedError
        self.connection.setblocking(True)

    def _die(self, told: dict[str, Any], body: bytes) -> None:
        self.close_connection = True

    def _short(self, told: dict[str, Any], body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True

    def _stream(self, told: dict[str, Any], body: bytes) -> None:
        """Pieces in chunks; `wait`: after the first; `die`: instead of the end; `endless`: over and over."""
        self.send_response(told.get("status", 200))
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            self._chunks(told)
        except ConnectionError:
            self.told_by.left.set()
            self.close_connection = True

    def _chunks(self, told: dict[str, Any]) -> None:
        while True:
            for number, piece in enumerate(told["pieces"]):
                if number == 1 and told.get("wait"):
                    self._await_leaving()
                self.wfile.write(f"{len(piece):x}\r\n{piece}\r\n".encode())
            if not told.get("endless"):
                break
        if told.get("die"):
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class OneContainer(Fleet):
    """A fleet of one instance."""

    def __init__(self, twin: AccountTwin, port: int) -> None:
        super().__init__(twin, AwsFleetCloud(twin))
        self.port = port
        self.held = 0
        self.counted: list[int] = []
        self.refusals = 0

    def lease(self, endpoint_id: str, *, variant: str = "", streams: bool = False) -> Lease:
        if self.refusals:
            self.refusals -= 1
            raise NoWorkerError("no instance is in service")
        return _Lease(self, variant or "main")


class _Lease(Lease):
    def __init__(self, fleet: OneContainer, variant: str) -> None:
        self._one = fleet
        self.host = "127.0.0.1"
        self.port = fleet.port
        self.variant = variant
        self.instance = "i-0"

    def done(
        self, status: int, model_seconds: float, overhead_seconds: float, first_byte_seconds: float | None = None
    ) -> None:
        assert model_seconds >= 0
        assert overhead_seconds >= 0
        self._one.counted.append(status)

    def __enter__(self) -> Lease:
        self._one.held += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._one.held -= 1


class ServedTwin:
    """A twin that judges nothing, served in this process; its endpoint chat is in service, variants main and other."""

    def __init__(self, home: Path, container: Container, settings: TwinSettings | None = None) -> None:
        self.twin = AccountTwin(home, settings or TwinSettings(judge="off"))
        install(self.twin)
        self.fleet = self.twin.fleet = OneContainer(self.twin, container.port)
        self.config: dict[str, Any] = {"ProductionVariants": [{"VariantName": "main"}, {"VariantName": "other"}]}
        self.endpoint = {
            "EndpointName": "chat",
            "EndpointArn": ARN,
            "EndpointStatus": "InService",
            "config": self.config,
            "variants": {"main": {"CurrentInstanceCount": 1}, "other": {"CurrentInstanceCount": 1}},
        }
        self.twin.state["sagemaker"] = {REGION: {"endpoint": {ARN: self.endpoint}}}
        self._server = make_server(
            "127.0.0.1", 0, AwsFront(self.twin), threaded=True, request_handler=AwsRequestHandler
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02])
        self._thread.start()
        self.clients: list[Any] = []
        self.answers: list[Any] = []

    def client(self, service: str = "sagemaker-runtime", attempts: int = 1) -> Any:
        """A boto3 client as the account's root."""
        config = Config(retries={"total_max_attempts": attempts, "mode": "standard"}, read_timeout=120)
        keys = root_keys(self.twin.home)
        self.clients.append(session().client(service, endpoint_url=self.url, config=config, **keys))
        return self.clients[-1]

    def kept(self, answer: Any) -> Any:
        """The answer, to be closed by who ends the test."""
        self.answers.append(answer)
        return answer

    def close(self) -> None:
        """End it."""
        for client in self.clients:
            client.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.twin.close()


@contextmanager
def served(home: Path) -> Iterator[tuple[ServedTwin, Container]]:
    """A twin and the container of its endpoint."""
    container = Container()
    twin = ServedTwin(home, container)
    try:
        yield twin, container
    finally:
        twin.close()
        container.close()


def fresh(container: Container) -> Container:
    """A container that remembers nothing of the tests before."""
    container.go_on.clear()
    container.left.clear()
    container.requests.clear()
    return container


@contextmanager
def emptied(twin: ServedTwin) -> Iterator[ServedTwin]:
    """A twin in which nothing of a test's invocations is left afterwards."""
    twin.fleet.counted.clear()
    yield twin
    for answer in twin.answers:
        answer["Body"].close()
    until(lambda: twin.fleet.held == 0)
