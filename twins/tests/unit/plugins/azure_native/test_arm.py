"""Calls to Resource Manager: what is tried again, how operations are followed, and the plugin's words for errors."""

import http.server
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.http_servers import serving
from twins.plugins.azure_native.arm import (
    AcceptedError,
    Arm,
    ArmError,
    Connections,
    Waiting,
)
from twins.plugins.plugin import ProviderError
from twins.tests.unit.plugins.azure_native.tiny_arm import GROUP, TinyArm, session

VERSION = {"api-version": "2024-01-01"}
IDENTITY = f"{GROUP}/providers/Microsoft.Some/things/one"
OPERATION = "https://localhost:1/operations/1"


@pytest.fixture
def tiny() -> TinyArm:
    return TinyArm()


@pytest.fixture
def arm(tiny: TinyArm) -> Arm:
    return session(tiny).reached()


def waiting() -> Waiting:
    return Waiting.of(60, lambda: True)


def put(arm: Arm, *, waits: bool) -> dict[str, object]:
    return arm.put(IDENTITY, VERSION, {"properties": {}}, waits, waiting())


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(arm: Arm, tiny: TinyArm, status: int) -> None:
    tiny.say("GET", status, retry_after="7")
    assert arm.get(GROUP, "2024-01-01", waiting())["location"] == "westeurope"
    assert tiny.methods() == ["GET", "GET"]


@pytest.mark.parametrize("code", ["AnotherOperationInProgress", "StorageAccountOperationInProgress"])
def test_a_busy_parent_is_waited_for_and_other_conflicts_are_not(arm: Arm, tiny: TinyArm, code: str) -> None:
    tiny.say("PUT", 409, {"error": {"code": code, "message": "busy"}})
    assert put(arm, waits=False)["id"] == IDENTITY
    tiny.say("PUT", 409, {"error": {"code": "Conflict", "message": "taken"}})
    with pytest.raises(ArmError, match=r'^Status=409 Code="Conflict" Message="taken"$'):
        put(arm, waits=False)


def test_it_gives_up_after_three_more_tries(arm: Arm, tiny: TinyArm) -> None:
    for _ in range(4):
        tiny.say("GET", 503, {"error": {"code": "ServerBusy", "message": "later"}})
    with pytest.raises(ArmError, match=r'Status=503 Code="ServerBusy"'):
        arm.get(GROUP, "2024-01-01", waiting())
    assert tiny.methods() == ["GET"] * 4


def test_nobody_there_is_said_plainly(arm: Arm, tiny: TinyArm) -> None:
    for _ in range(4):
        tiny.next.append(("GET", ConnectionRefusedError("refused")))
    with pytest.raises(ProviderError, match=r'Get "https://localhost:1/.*: refused'):
        arm.get(GROUP, "2024-01-01", waiting())


def test_an_operation_is_followed_and_its_resource_read(arm: Arm, tiny: TinyArm) -> None:
    tiny.say("PUT", 201, {"id": IDENTITY}, azure_asyncoperation=OPERATION)
    tiny.say("GET", 200, {"status": "InProgress"})
    tiny.say("GET", 200, {"status": "Succeeded"})
    tiny.kept[IDENTITY] = {"id": IDENTITY, "properties": {"provisioningState": "Succeeded"}}
    assert put(arm, waits=True)["properties"] == {"provisioningState": "Succeeded"}
    assert [a.path for a in tiny.asked] == [IDENTITY, "/operations/1", "/operations/1", IDENTITY]


def test_an_operation_is_not_followed_where_the_specification_has_none(arm: Arm, tiny: TinyArm) -> None:
    tiny.say("PUT", 201, {"id": IDENTITY}, azure_asyncoperation=OPERATION)
    assert put(arm, waits=False) == {"id": IDENTITY}


def test_a_relative_location_is_followed_with_a_version(arm: Arm, tiny: TinyArm) -> None:
    tiny.say("PUT", 202, None, location="/results/1")
    tiny.say("GET", 202)
    tiny.say("GET", 200, {"id": IDENTITY})
    assert put(arm, waits=False) == {"id": IDENTITY}
    assert (tiny.asked[-1].path, tiny.asked[-1].query) == ("/results/1", VERSION)


def test_a_state_in_the_body_is_followed(arm: Arm, tiny: TinyArm) -> None:
    tiny.say("PUT", 201, {"id": IDENTITY, "properties": {"provisioningState": "Creating"}})
    tiny.say("GET", 200, {"id": IDENTITY, "properties": {"provisioningState": "Creating"}})
    tiny.say("GET", 200, {"id": IDENTITY, "properties": {"provisioningState": "Failed"}})
    with pytest.raises(AcceptedError):
        put(arm, waits=True)


def test_a_failed_operation_was_accepted(arm: Arm, tiny: TinyArm) -> None:
    tiny.say("PUT", 201, {"id": IDENTITY}, azure_asyncoperation=OPERATION)
    tiny.say("GET", 200, {"status": "Failed", "error": {"code": "ImagePull", "message": "no image"}})
    with pytest.raises(AcceptedError, match=r'^Status=200 Code="ImagePull" Message="no image"$'):
        put(arm, waits=True)


def test_what_is_gone_is_deleted(arm: Arm, tiny: TinyArm) -> None:
    arm.delete(IDENTITY, "2024-01-01", True, waiting())
    tiny.say("DELETE", 202, None, location="https://localhost:1/results/2")
    tiny.say("GET", 202)
    tiny.say("GET", 204)
    arm.delete(IDENTITY, "2024-01-01", True, waiting())
    tiny.say("DELETE", 409, {"error": {"code": "InUse", "message": "used"}})
    with pytest.raises(ArmError, match="InUse"):
        arm.delete(IDENTITY, "2024-01-01", True, waiting())


def test_time_that_is_over_and_nobody_who_waits_end_it(arm: Arm, tiny: TinyArm) -> None:
    tiny.say("PUT", 201, {"id": IDENTITY}, azure_asyncoperation=OPERATION)
    tiny.say("GET", 200, {"status": "InProgress"})
    with pytest.raises(AcceptedError, match="operation timed out"):
        arm.put(IDENTITY, VERSION, {}, True, Waiting(0.0))
    tiny.say("PUT", 201, {"id": IDENTITY}, azure_asyncoperation=OPERATION)
    tiny.say("GET", 200, {"status": "InProgress"})
    with pytest.raises(AcceptedError, match="context canceled"):
        arm.put(IDENTITY, VERSION, {}, True, Waiting.of(60, lambda: False))


@pytest.mark.parametrize(("status", "body"), [(404, None), (204, None), (200, {})])
def test_what_answers_with_nothing_can_be_made(arm: Arm, tiny: TinyArm, status: int, body: object) -> None:
    tiny.say("GET", status, body)
    arm.refuse_existing(IDENTITY, "2024-01-01", False, waiting())


def test_what_can_not_be_looked_at_is_not_made(arm: Arm, tiny: TinyArm) -> None:
    tiny.say("GET", 403, {"error": {"code": "AuthorizationFailed", "message": "no"}})
    with pytest.raises(ProviderError, match=r"cannot check existence of resource '.*': status code 403, .*Authoriz"):
        arm.refuse_existing(IDENTITY, "2024-01-01", False, waiting())


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers anything, and keeps its connections."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.peers.append(self.client_address)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        self.close_connection = self.path == "/last"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@pytest.fixture
def echo() -> Iterator[Any]:
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)) as server:
        server.peers = []  # type: ignore[attr-defined]
        yield server


def test_connections_are_kept_and_made_anew(echo: Any) -> None:
    url = f"http://127.0.0.1:{echo.server_port}"
    connections = Connections(ssl.create_default_context())
    for path in ("/", "/", "/last", "/", "/"):
        assert connections.call("GET", f"{url}{path}", {}, None).body == {}
    assert [echo.peers.index(peer) for peer in echo.peers] == [0, 0, 0, 3, 3]
    connections.close()
    connections.call("GET", f"{url}/", {}, None)
    assert echo.peers.count(echo.peers[-1]) == 1
    connections.close()
