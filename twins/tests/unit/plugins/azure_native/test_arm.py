"""Calls to Resource Manager: what is tried again, how operations are followed, and the plugin's words for errors."""

import time

import pytest
import requests
from azure.core.pipeline.transport import RequestsTransport

from llmops_twins.plugins.azure_native.arm import AcceptedError, ArmResponseError, Deadline, ManagerClient
from llmops_twins.plugins.plugin import ProviderError
from twins.tests.unit.plugins.azure_native.tiny_arm import GROUP, TinyArm, session

VERSION = {"api-version": "2024-01-01"}
IDENTITY = f"{GROUP}/providers/Microsoft.Some/things/one"
OPERATION = "https://localhost:1/operations/1"


@pytest.fixture
def tiny() -> TinyArm:
    return TinyArm()


@pytest.fixture
def arm(tiny: TinyArm) -> ManagerClient:
    return session(tiny).reached()


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds between tries, which nobody waits."""
    found: list[float] = []
    monkeypatch.setattr(RequestsTransport, "sleep", lambda _, seconds: found.append(seconds))
    return found


def put(arm: ManagerClient, *, waits: bool) -> dict[str, object]:
    return arm.put(IDENTITY, VERSION, {"properties": {}}, waits, Deadline())


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(arm: ManagerClient, tiny: TinyArm, naps: list[float], status: int) -> None:
    tiny.say("GET", status, retry_after="7")
    assert arm.get(GROUP, VERSION)["location"] == "westeurope"
    assert (tiny.methods(), naps) == (["GET", "GET"], [7])


@pytest.mark.parametrize("code", ["AnotherOperationInProgress", "StorageAccountOperationInProgress"])
def test_a_busy_parent_is_waited_for_and_other_conflicts_are_not(arm: ManagerClient, tiny: TinyArm, code: str) -> None:
    tiny.say("PUT", 409, {"error": {"code": code, "message": "busy"}})
    assert put(arm, waits=False)["id"] == IDENTITY
    tiny.say("PUT", 409, {"error": {"code": "Conflict", "message": "taken"}})
    with pytest.raises(ArmResponseError, match=r'^Status=409 Code="Conflict" Message="taken"$'):
        put(arm, waits=False)


def test_it_gives_up_after_three_more_tries(arm: ManagerClient, tiny: TinyArm) -> None:
    for _ in range(4):
        tiny.say("GET", 503, {"error": {"code": "ServerBusy", "message": "later"}})
    with pytest.raises(ArmResponseError, match=r'Status=503 Code="ServerBusy"'):
        arm.get(GROUP, VERSION)
    assert tiny.methods() == ["GET"] * 4


def test_nobody_there_is_said_plainly(arm: ManagerClient, tiny: TinyArm) -> None:
    for _ in range(4):
        tiny.next.append(("GET", requests.ConnectionError("refused")))
    with pytest.raises(ProviderError, match=r'Get "https://localhost:1/.*: refused'):
        arm.get(GROUP, VERSION)


def test_an_operation_is_followed_and_its_resource_read(arm: ManagerClient, tiny: TinyArm) -> None:
    tiny.say("PUT", 201, {"id": IDENTITY}, azure_asyncoperation=OPERATION)
    tiny.say("GET", 200, {"status": "InProgress"})
    tiny.say("GET", 200, {"status": "Succeeded"})
    tiny.kept[IDENTITY] = {"id": IDENTITY, "properties": {"provisioningState": "Succeeded"}}
    assert put(arm, waits=True)["properties"] == {"provisioningState": "Succeeded"}
    assert [a.path for a in tiny.asked] == [IDENTITY, "/operations/1", "/operations/1", IDENTITY]


def test_an_operation_is_not_followed_where_the_specification_has_none(arm: ManagerClient, tiny: TinyArm) -> None:
    tiny.say("PUT", 201, {"id": IDENTITY}, azure_asyncoperation=OPERATION)
    assert put(arm, waits=False) == {"id": IDENTITY}


def test_a_location_is_followed(arm: ManagerClient, tiny: TinyArm) -> None:
    tiny.say("PUT", 202, None, location="https://localhost:1/results/1?api-version=2024-01-01")
    tiny.say("GET", 202)
    tiny.say("GET", 200, {"id": IDENTITY})
    assert put(arm, waits=False) == {"id": IDENTITY}
    assert (tiny.asked[-1].path, tiny.asked[-1].query) == ("/results/1", VERSION)


def test_a_state_in_the_body_is_followed(arm: ManagerClient, tiny: TinyArm) -> None:
    tiny.say("PUT", 201, {"id": IDENTITY, "properties": {"provisioningState": "Creating"}})
    tiny.say("GET", 200, {"id": IDENTITY, "properties": {"provisioningState": "Creating"}})
    tiny.say("GET", 200, {"id": IDENTITY, "properties": {"provisioningState": "Failed"}})
    with pytest.raises(AcceptedError):
        put(arm, waits=True)


def test_a_failed_operation_was_accepted(arm: ManagerClient, tiny: TinyArm) -> None:
    tiny.say("PUT", 201, {"id": IDENTITY}, azure_asyncoperation=OPERATION)
    tiny.say("GET", 200, {"status": "Failed", "error": {"code": "ImagePull", "message": "no image"}})
    with pytest.raises(AcceptedError, match=r'^Status=200 Code="ImagePull" Message="no image"$'):
        put(arm, waits=True)


def test_what_is_gone_is_deleted(arm: ManagerClient, tiny: TinyArm) -> None:
    arm.delete(IDENTITY, "2024-01-01", True, Deadline())
    tiny.say("DELETE", 202, None, location="https://localhost:1/results/2")
    tiny.say("GET", 202)
    tiny.say("GET", 204)
    arm.delete(IDENTITY, "2024-01-01", True, Deadline())
    tiny.say("DELETE", 409, {"error": {"code": "InUse", "message": "used"}})
    with pytest.raises(ArmResponseError, match="InUse"):
        arm.delete(IDENTITY, "2024-01-01", True, Deadline())


def test_time_that_is_over_and_nobody_who_waits_end_it(arm: ManagerClient, tiny: TinyArm) -> None:
    for deadline, told in (Deadline(1e-9), "operation timed out"), (Deadline(60, lambda: False), "context canceled"):
        tiny.say("PUT", 201, {"id": IDENTITY}, azure_asyncoperation=OPERATION)
        tiny.say("GET", 200, {"status": "InProgress"})
        with pytest.raises(AcceptedError, match=told):
            arm.put(IDENTITY, VERSION, {}, True, deadline)


def test_looks_become_rarer(arm: ManagerClient, tiny: TinyArm, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    tiny.say("DELETE", 202, None, location="https://localhost:1/results/2")
    for status in (*[202] * 11, 204):
        tiny.say("GET", status)
    arm.delete(IDENTITY, "2024-01-01", True, Deadline())
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (0.02, 0.5)
