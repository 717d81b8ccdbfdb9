"""Azure ML's documents on a twin that is a process: roles that come and go, schedules, and a twin that is killed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from azure.core.exceptions import HttpResponseError

from llmops_twins.azure import control
from llmops_twins.core.state_log import STATE_FILE
from tests.support.servers.serving import until
from twins.tests.emulated.azure.processes import ACCOUNT, LOCATION, WORKSPACE, assigned, make_workspace, running
from twins.tests.support.azure_processes import ArmClient

ENDPOINT = f"{WORKSPACE}/onlineEndpoints/chat"
A = f"{ENDPOINT}/deployments/chat-a"
IMAGE = "process:serving@sha256:" + "0" * 64


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a twin with a workspace, a model and an endpoint, on which nothing runs."""
    folder = tmp_path_factory.mktemp("twin")
    try:
        with running(folder, pace=0.2, containers="none") as arm:
            make_workspace(arm, IMAGE)
            model = {"modelType": "custom_model", "modelUri": "azureml://datastores/store/paths/models/a"}
            arm.put(f"{WORKSPACE}/models/chat/versions/1", {"properties": model})
            body = {"location": LOCATION, "identity": assigned(), "properties": {"authMode": "AADToken"}}
            arm.put(ENDPOINT, body)
        yield folder
    finally:
        control.reset(folder)
        control.down(folder)


@pytest.fixture
def arm(home: Path) -> Iterator[ArmClient]:
    with running(home, pace=0.2, containers="none") as found:
        yield found


def deployment(**properties: Any) -> dict[str, Any]:
    given = {
        "endpointComputeType": "Managed",
        "environmentId": f"{WORKSPACE}/environments/serving/versions/1",
        "model": f"{WORKSPACE}/models/chat/versions/1",
        "instanceType": "Standard_DS3_v2",
    }
    return {"location": LOCATION, "sku": {"name": "Default", "capacity": 1}, "properties": {**given, **properties}}


def job() -> dict[str, Any]:
    return {
        "jobType": "Command",
        "command": "true",
        "environmentId": f"{WORKSPACE}/environments/training/versions/1",
        "computeId": f"{WORKSPACE}/computes/cpu",
    }


def test_a_deployment_needs_its_identitys_role_when_it_starts(arm: ArmClient) -> None:
    role = f"{ACCOUNT}/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-000000000001"
    kept = arm.get(role, "2022-04-01")
    arm.delete(role, "2022-04-01")
    with pytest.raises(HttpResponseError, match="blobServices/containers/blobs/read"):
        _retried(lambda: arm.put(A, deployment()))
    assert arm.get(A)["properties"]["provisioningState"] == "Failed"

    names = ("roleDefinitionId", "principalId", "principalType")
    arm.put(role, {"properties": {name: kept["properties"][name] for name in names}}, "2022-04-01")
    until(lambda: _succeeds(lambda: arm.put(A, deployment())))


def _retried(act: Any) -> None:
    """A role that was taken away works on for a moment."""
    for _ in range(20):
        act()


def _succeeds(act: Any) -> bool:
    try:
        act()
    except HttpResponseError as e:
        if "blobs/read" not in str(e):
            raise
        return False
    return True


def test_a_schedule_starts_its_job_in_time(arm: ArmClient) -> None:
    trigger = {"triggerType": "Cron", "expression": "* * * * *"}
    action = {"actionType": "CreateJob", "jobDefinition": job()}
    arm.put(f"{WORKSPACE}/schedules/often", {"properties": {"trigger": trigger, "action": action}})

    until(lambda: [each["properties"]["status"] for each in arm.get(f"{WORKSPACE}/jobs")["value"]] == ["Completed"])
    arm.delete(f"{WORKSPACE}/schedules/often")


def test_a_killed_twin_comes_back_with_its_documents_and_goes_on(home: Path) -> None:
    with running(home, pace=0.2, containers="none") as arm:
        until(lambda: _succeeds(lambda: arm.put(A, deployment())))
        arm.put(f"{WORKSPACE}/jobs/last", {"properties": job()})
        before = arm.get(A)
        until(lambda: "jobs/last" in (home / STATE_FILE).read_text())
        process = psutil.Process(control.up(home).pids["twin"])
        process.kill()
        process.wait()

    with running(home, pace=0.2, containers="none") as arm:
        assert arm.get(A) == before
        until(lambda: arm.get(f"{WORKSPACE}/jobs/last")["properties"]["status"] == "Completed")
