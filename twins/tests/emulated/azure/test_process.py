"""The process of a twin: kept state, several twins, resets, and what its clients are told."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import ContainerClient

from llmops_kit.core.errors import KitError
from llmops_twins.azure import control
from llmops_twins.azure.entra.principals import OWNER_ID
from llmops_twins.core.state_log import STATE_FILE
from twins.tests.support.azure_processes import GROUPS, Subscription, running_twin

GROUP = "/resourceGroups/kept"
STORAGE = "2024-01-01"


def put_group(running: Subscription, name: str = "kept") -> None:
    with running.entered():
        arm = running.arm()
        arm.change("PUT", f"{arm.root}/resourceGroups/{name}", GROUPS, {"location": "westeurope"})
        arm.close()


def groups(running: Subscription) -> list[str]:
    with running.entered():
        arm = running.arm()
        found = [group["name"] for group in arm.send("GET", f"{arm.root}/resourceGroups", GROUPS).json()["value"]]
        arm.close()
    return found


def test_a_killed_twin_comes_back_with_its_state_its_port_and_its_authority(tmp_path: Path) -> None:
    with running_twin(tmp_path, pace=60.0) as running:
        put_group(running)
        with running.entered():
            arm = running.arm()
            workspace = f"{arm.root}{GROUP}/providers/Microsoft.OperationalInsights/workspaces/logs"
            begun = arm.send("PUT", workspace, "2023-09-01", {"location": "westeurope"})
            assert begun.json()["properties"]["provisioningState"] == "Creating"
            status = begun.headers["Azure-AsyncOperation"]
            authority = (running.home / "tls/ca.pem").read_bytes()
            while "logs" not in (running.home / STATE_FILE).read_text():
                pass
            twin = psutil.Process(running.info.pids["twin"])
            os.kill(twin.pid, signal.SIGKILL)
            twin.wait(60)
            again = control.up(running.home, say=lambda _: None, containers="none", pace=0.1)
            assert (again.url, (running.home / "tls/ca.pem").read_bytes()) == (running.info.url, authority)
            assert again.pids["twin"] != running.info.pids["twin"]
            # The operation that ran goes on: its timer was kept, and is due when the old pace said.
            answered = arm.send("GET", status.removeprefix(running.info.url).partition("?")[0], "2023-09-01")
            assert answered.json()["status"] in ("InProgress", "Succeeded")
            arm.close()
        assert groups(running) == ["kept"]


def test_two_twins_know_nothing_of_each_other(tmp_path: Path) -> None:
    with running_twin(tmp_path, name="one") as one, running_twin(tmp_path, name="two") as two:
        put_group(one, "ones")
        assert (groups(one), groups(two)) == (["ones"], [])
        with one.entered():
            foreign = one.arm()
            token_of_one = foreign.send("GET", "/subscriptions", GROUPS)
            assert token_of_one.status_code == 200
            foreign.close()


def test_reset_empties_a_twin_that_runs_and_one_that_does_not(tmp_path: Path) -> None:
    with running_twin(tmp_path) as running:
        put_group(running)
        control.reset(running.home)
        assert groups(running) == []
        put_group(running)
        control.down(running.home)
        control.reset(running.home)
        control.up(running.home, containers="none")
        assert groups(running) == []


def test_a_restore_brings_the_snapshot_back_without_blobs(tmp_path: Path) -> None:
    with running_twin(tmp_path) as running, running.entered():
        put_group(running)
        arm = running.arm()
        account = f"{arm.root}{GROUP}/providers/Microsoft.Storage/storageAccounts/keptdata"
        container = f"{account}/blobServices/default/containers/rows"
        body = {"location": "westeurope", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": {}}
        role = f"{arm.root}/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-000000000001"
        writer = f"{arm.root}/providers/Microsoft.Authorization/roleDefinitions/ba92f5b4-2d11-453d-a403-e96b0029c9fe"
        arm.change("PUT", account, STORAGE, body)
        arm.change("PUT", container, STORAGE, {"properties": {}})
        assigned = {"roleDefinitionId": writer, "principalId": OWNER_ID, "principalType": "ServicePrincipal"}
        arm.send("PUT", role, "2022-04-01", {"properties": assigned})
        control.snapshot(running.home)
        url = arm.send("GET", account, STORAGE).json()["properties"]["primaryEndpoints"]["blob"]
        rows = ContainerClient(url.rstrip("/"), "rows", DefaultAzureCredential())
        rows.upload_blob("a", b"1")
        with pytest.raises(KitError, match="keeps no blobs"):
            control.snapshot(running.home)
        put_group(running, "new")
        control.restore(running.home)
        assert groups(running) == ["kept"]
        assert list(rows.list_blobs()) == []
        rows.upload_blob("b", b"2")
        arm.change("DELETE", f"{arm.root}{GROUP}", GROUPS)
        control.restore(running.home)
        assert arm.send("GET", account, STORAGE).json()["properties"]["primaryEndpoints"]["blob"] == url
        assert list(rows.list_blobs()) == []
        rows.close()
        arm.close()


def test_what_runs_is_told_and_settings_change_while_it_runs(tmp_path: Path) -> None:
    with running_twin(tmp_path) as running:
        again = control.up(running.home, containers="none", judge="off", pace=2.0)
        assert again.pids["twin"] == running.info.pids["twin"]
        told = control.status(running.home)
        assert told
        assert (told["judge"], told["pace"], told["subscription"]) == ("off", 2.0, running.info.subscription)
        assert control.down(running.home)
        assert control.status(running.home) is None
        with pytest.raises(KitError, match="the twin is not running"):
            control.environment(running.home)


def test_a_damaged_state_is_refused_and_kept(tmp_path: Path) -> None:
    with running_twin(tmp_path) as running:
        control.down(running.home)
        (running.home / STATE_FILE).write_text("{")
        with pytest.raises(KitError, match="the state is damaged"):
            control.up(running.home, containers="none")
        assert (running.home / STATE_FILE).read_text() == "{"


def test_a_fault_throttles_so_many_calls_and_the_client_waits(tmp_path: Path) -> None:
    with running_twin(tmp_path) as running, running.entered():
        running.fault("throttle", service="Microsoft.Resources", operation="resourceGroups/write", times=2)
        arm = running.arm()
        arm.change("PUT", f"{arm.root}/resourceGroups/late", GROUPS, {"location": "westeurope"})
        assert control.faults(running.home) == {"throttle": []}
        running.fault("error", service="Microsoft.Resources", operation="resourceGroups/*", times=0)
        with pytest.raises(KitError, match="no fault 'nothing'"):
            running.fault("nothing")
        running.clear_faults()
        running.fault("failure", name="logs")
        with pytest.raises(HttpResponseError, match="InternalServerError"):
            arm.change(
                "PUT",
                f"{arm.root}/resourceGroups/late/providers/Microsoft.OperationalInsights/workspaces/logs",
                "2023-09-01",
                {"location": "westeurope"},
            )
        arm.close()
