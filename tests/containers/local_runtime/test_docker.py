"""Endpoints whose workers are Docker containers."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from llmops_kit.local_runtime.child import MARK
from llmops_kit.local_runtime.host import Host
from llmops_kit.local_runtime.runtimes import container_name
from llmops_kit.local_runtime.spec import EndpointSpec

pytestmark = pytest.mark.docker


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """A server in an image from what is on this machine."""
    try:
        docker("info")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no Docker daemon answers")
    bases = [base for base in ("llmops-base", "python:3.11-slim") if docker("images", "--quiet", base)]
    if not bases:
        pytest.skip("no base image with Python here: `tools/docker.sh base` makes one")
    lines = [f"FROM {bases[0]}", "COPY server.py /server.py"]
    command = ["docker", "build", "--quiet", "--file", "-", str(Path(__file__).parent)]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True)
    yield f"docker:echo@{done.stdout.strip()}"
    docker("rmi", "--force", done.stdout.strip())


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path / "home")
    yield host
    host.shutdown()
    assert containers(host) == []


@pytest.fixture
def spec(image: str, tmp_path: Path) -> EndpointSpec:
    (tmp_path / "version").mkdir()
    (tmp_path / "version/weights").write_text("w")
    return EndpointSpec(
        name="echo",
        image=image,
        command=["python3", "/server.py", "serve"],
        folders={"/opt/ml/model": str(tmp_path / "version")},
        environ={"VERSION": "1"},
        ready_seconds=60,
    )


def containers(host: Host) -> list[str]:
    return docker("ps", "--all", "--quiet", "--filter", f"name={container_name(host.home, '')}").split()


def get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def answers(url: str) -> bool:
    """Whether version 1 answers; on a busy machine a container may take longer to come back than requests wait."""
    try:
        return get(url)["version"] == "1"
    except urllib.error.HTTPError as e:
        if e.code not in (502, 503):
            raise
        return False


def eventually(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


def test_a_container_serves_with_its_model_read_only_and_is_updated_and_removed(host: Host, spec: EndpointSpec) -> None:
    state = host.apply(spec)
    assert get(state.url) == {"version": "1", "uid": os.getuid(), "writable": False, "model": "w"}
    assert host.apply(spec) == state
    after = host.apply(spec.model_copy(update={"environ": {"VERSION": "2"}}))
    assert (get(after.url)["version"], after.url) == ("2", state.url)
    assert len(containers(host)) == 1
    assert any("told to end" in line for line in host.logs("echo"))
    host.remove("echo")
    assert containers(host) == []


def test_a_killed_container_comes_back(host: Host, spec: EndpointSpec) -> None:
    state = host.apply(spec)
    (first,) = containers(host)
    docker("kill", first)
    eventually(lambda: answers(state.url), 120)
    assert containers(host) != [first]


def test_a_killed_client_leaves_no_second_container(host: Host, spec: EndpointSpec) -> None:
    state = host.apply(spec)
    (first,) = containers(host)
    os.kill(state.variants[0].instances[0].pid, signal.SIGKILL)
    eventually(lambda: len(containers(host)) == 1 and containers(host) != [first], 120)
    eventually(lambda: answers(state.url), 120)


def test_containers_end_with_their_supervisor(host: Host, spec: EndpointSpec) -> None:
    state = host.apply(spec)
    for process in psutil.Process(state.router_pid).parents()[:1]:
        assert MARK not in process.environ()
        process.kill()
    eventually(lambda: containers(host) == [], 120)
    assert host.apply(spec).url == state.url
    assert get(state.url)["version"] == "1"
