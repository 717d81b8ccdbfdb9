"""Crashes of a container, the supervisor or the twin, after which endpoints come back; ends that leave nothing."""

import os
import signal
from pathlib import Path

import psutil

from llmops_kit.local_runtime.child import MARK
from llmops_twins.aws import control
from llmops_twins.core.state_log import STATE_FILE
from tests.support.servers.serving import until
from twins.tests.support.aws import RunningTwin, await_status, made_role
from twins.tests.support.aws_fleet import Cloud, blue_green


def of_home(home: Path) -> list[int]:
    """Processes of the containers of a twin, by the mark in their environments."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(f"{home / 'hosting'}:"):
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def test_a_crashed_container_comes_back_while_the_others_serve(cloud: Cloud) -> None:
    cloud.create("crashed", cloud.of_version("1", count=2))
    cloud.twin.fault("crash", name="crashed")
    until(lambda: sorted(each["restarts"] for each in cloud.instances("crashed")) == [0, 1])
    until(lambda: [each["state"] for each in cloud.instances("crashed")] == ["in service"] * 2)
    assert cloud.ask("crashed")["text"] == "1"


def test_a_killed_twin_finds_its_containers_and_its_update_again(cloud: Cloud) -> None:
    cloud.create("survivor", cloud.of_version("1", count=2))
    pids = {each["pid"] for each in cloud.instances("survivor")}
    cloud.pace(600)
    cloud.sagemaker.update_endpoint(
        EndpointName="survivor", EndpointConfigName=cloud.of_version("2"), DeploymentConfig=blue_green(wait=60)
    )
    until(lambda: len(cloud.instances("survivor")) == 3)
    until(lambda: b"PendingDeploymentSummary" in (cloud.twin.home / STATE_FILE).read_bytes())
    os.kill(cloud.twin.info.pids["twin"], signal.SIGKILL)
    again = RunningTwin(cloud.twin.home, control.up(cloud.twin.home, judge="off", pace=600, containers="run"))
    cloud.twin.close()
    cloud.twin = again
    assert pids <= {each["pid"] for each in cloud.instances("survivor")}
    os.kill(int((cloud.twin.home / "hosting/supervisord.pid").read_text()), signal.SIGKILL)
    until(lambda: all(each["restarts"] and each["state"] == "in service" for each in cloud.instances("survivor")))
    assert cloud.ask("survivor")["text"] == "1"
    cloud.pace(2)
    found = await_status(cloud.twin, "survivor", "InService")
    assert "FailureReason" not in found
    until(lambda: len(cloud.instances("survivor")) == 1)
    cloud.pace(0.2)
    assert cloud.ask("survivor")["text"] == "2"


def test_down_and_reset_leave_nothing(cloud: Cloud) -> None:
    home = cloud.twin.home
    cloud.create("ended", cloud.of_version("1", count=2))
    assert len(of_home(home)) == 2
    os.kill(cloud.twin.info.pids["twin"], signal.SIGKILL)
    control.down(home)
    assert of_home(home) == []
    cloud.twin.close()
    cloud.twin = RunningTwin(home, control.up(home, judge="off", pace=0.2, containers="run"))
    await_status(cloud.twin, "ended", "InService")
    assert cloud.ask("ended")["text"] == "1"
    control.reset(home)
    assert of_home(home) == []
    cloud.endpoints.clear()
    until(lambda: not (home / "hosting/supervisord.pid").exists())
    cloud.role = made_role(cloud.twin, "serving")
