"""A twin that is killed comes back: its endpoint serves again, by the same container; a job that ran has failed."""

import os
import signal
from pathlib import Path

import psutil
from azure.identity import DefaultAzureCredential

from llmops_kit.local_runtime.process_images import build
from llmops_twins.azure import control
from llmops_twins.azure.entra import certificates
from llmops_twins.core.state_log import STATE_FILE
from tests.support.servers.echo import echo_source
from twins.tests.emulated.azure.processes import LOCATION, WORKSPACE, assigned, make_workspace, running
from twins.tests.support.azure_ml import fetch, wait
from twins.tests.support.azure_processes import ArmClient

ENDPOINT = f"{WORKSPACE}/onlineEndpoints/chat"


def test_endpoints_serve_again_and_jobs_are_lost(tmp_path: Path) -> None:
    home = tmp_path / "twin"
    try:
        with running(home, pace=0.1) as arm:
            make_workspace(arm, build(echo_source(tmp_path)))
            arm.put(ENDPOINT, endpoint())
            arm.put(f"{ENDPOINT}/deployments/blue", deployment())
            arm.put(ENDPOINT, endpoint(traffic={"blue": 100}))
            uri = arm.get(ENDPOINT)["properties"]["scoringUri"]
            first = ask(home, uri)
            assert first[:2] == (200, b"1")

            arm.put(f"{WORKSPACE}/jobs/long", job("sleep 600"))
            wait(lambda: True if status(arm, "long") == "Running" else None)
            wait(lambda: True if '"Running"' in (home / STATE_FILE).read_text() else None)
            twin = psutil.Process(control.up(home).pids["twin"])
            os.kill(twin.pid, signal.SIGKILL)
            twin.wait(60)

        with running(home, pace=0.1) as arm:
            assert arm.get(ENDPOINT)["properties"]["scoringUri"] == uri
            again = wait(lambda: found if (found := ask(home, uri))[0] == 200 else None)
            assert again == first  # its process too
            assert status(arm, "long") == "Failed"
            details = arm.get(f"/history/v1.0{WORKSPACE}/runs/long/details")
            assert "was stopped while the job ran" in details["error"]["error"]["message"]
            arm.put(f"{WORKSPACE}/jobs/next", job("echo well"))
            wait(lambda: True if status(arm, "next") == "Completed" else None)
    finally:
        control.down(home)


def endpoint(**properties: object) -> dict[str, object]:
    return {"location": LOCATION, "identity": assigned(), "properties": {"authMode": "AADToken", **properties}}


def deployment() -> dict[str, object]:
    properties = {
        "endpointComputeType": "Managed",
        "environmentId": f"{WORKSPACE}/environments/serving/versions/1",
        "instanceType": "Standard_DS3_v2",
    }
    return {"location": LOCATION, "sku": {"name": "Default", "capacity": 1}, "properties": properties}


def job(command: str) -> dict[str, object]:
    properties = {
        "jobType": "Command",
        "command": command,
        "environmentId": f"{WORKSPACE}/environments/training/versions/1",
        "computeId": f"{WORKSPACE}/computes/cpu",
    }
    return {"properties": properties}


def status(arm: ArmClient, name: str) -> str:
    return arm.get(f"{WORKSPACE}/jobs/{name}")["properties"]["status"]


def ask(home: Path, uri: str) -> tuple[int, bytes, str | None]:
    """Status, body and the process that answered."""
    token = DefaultAzureCredential().get_token("https://ml.azure.com/.default").token
    headers = {"Authorization": f"Bearer {token}"}
    status, body, answered = fetch(uri, b"version", headers, certificates.client_context(home))
    return status, body, answered.get("X-Pid")
