"""Servers that grow: one is replaced, or killed, while the other one serves."""

import os
import signal
import urllib.request
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from llmops_kit.local_runtime.endpoint import HostedEndpoint
from llmops_kit.local_runtime.host import Host
from llmops_kit.local_runtime.spec import EndpointSpec, EndpointState

Eventually = Callable[..., None]
MIB = 1 << 20
LIMIT = 200


def limited(spec: EndpointSpec, **changes: Any) -> EndpointSpec:
    values = {"instances": 2, "memory_bytes": LIMIT * MIB, "rollout": {"drain_seconds": 60}}
    return EndpointSpec.model_validate(spec.model_dump() | values | changes)


def ports(state: EndpointState) -> list[int]:
    return [each.port for each in state.variants[0].instances]


def processes(state: EndpointState) -> list[tuple[int, int]]:
    """Ports and pids, without readiness, which the router learns after a server has started."""
    return [(0, state.router_pid), *((each.port, each.pid) for each in state.variants[0].instances)]


def grow(port: int, query: str) -> int:
    """Makes the server on a port use more memory; returns its pid."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/grow?{query}", timeout=60) as answer:
        return int(answer.read())


def ask(url: str) -> str:
    with urllib.request.urlopen(f"{url}/x", timeout=60) as answer:
        return answer.read().decode()


def watcher(host: Host) -> int:
    return host._daemon.programs()["echo--memory"].pid


def said(host: Host) -> str:
    return "\n".join(line for line in host.logs("echo") if line.startswith("memory: "))


@pytest.mark.scorecard("server-memory")
@pytest.mark.parametrize("query", [f"mb={LIMIT}", f"mb={LIMIT}&child=1"], ids=["itself", "its engine"])
def test_a_server_that_grows_is_replaced_without_a_failed_request(
    host: Host, spec: EndpointSpec, load: Callable[..., Any], eventually: Eventually, query: str
) -> None:
    state = host.apply(limited(spec))
    other = host.apply(limited(spec, name="other"))
    large, small = ports(state)
    clients = load(state.url, 6)
    clients.wait_for(6)
    pid = grow(large, query)
    tree = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    eventually(lambda: host.state("echo").memory.replaced)
    clients.wait_for(12)
    clients.stop()
    after = host.state("echo")
    assert clients.failures == []
    assert len(ports(after)) == 2
    assert small in ports(after)
    assert large not in ports(after)
    assert [i.restarts for i in after.variants[0].instances] == [0, 0]
    assert after.ready
    assert not [each for each in tree if psutil.pid_exists(each)]
    assert (after.memory.limit, after.memory.replaced, after.memory.killed) == (LIMIT * MIB, 1, 0)
    assert f"port {large} " in after.memory.last
    assert f"its limit is {LIMIT} MiB" in said(host)
    assert processes(host.state("other")) == processes(other)
    assert host.state("other").memory.replaced == 0
    assert processes(host.apply(limited(spec))) == processes(after)


@pytest.mark.scorecard("server-memory")
def test_a_server_far_above_its_limit_is_killed_and_the_other_one_serves(
    host: Host, spec: EndpointSpec, eventually: Eventually
) -> None:
    state = host.apply(limited(spec))
    large, small = ports(state)
    eventually(lambda: watcher(host))
    os.kill(watcher(host), signal.SIGSTOP)  # else it may look while the server is between the limit and its half more
    pid = grow(large, f"mb={2 * LIMIT}")
    os.kill(watcher(host), signal.SIGCONT)
    while psutil.pid_exists(pid):
        assert ask(state.url) == "1"
    eventually(lambda: host.state("echo").memory.killed == 1)
    eventually(lambda: all(i.ready for i in host.state("echo").variants[0].instances))
    assert ports(host.state("echo")) == [large, small]
    assert "killed above 300 MiB" in host.state("echo").memory.last


@pytest.mark.scorecard("server-memory")
def test_a_server_that_is_always_above_its_limit_is_not_replaced_again_and_again(
    host: Host, spec: EndpointSpec, eventually: Eventually
) -> None:
    state = host.apply(limited(spec, instances=1, environ={"GROWN": str(LIMIT)}))
    eventually(lambda: "the next replacement is in" in said(host))
    after = host.state("echo")
    assert (after.memory.replaced, after.memory.killed) == (1, 0)
    assert "raise `limits.memory_mb`" in said(host)
    assert ports(after) != ports(state)
    assert ask(after.url) == "1"


def test_a_replacement_that_its_watcher_did_not_finish_is_finished_by_the_next_one(
    host: Host, spec: EndpointSpec, eventually: Eventually
) -> None:
    state = host.apply(limited(spec))
    endpoint = HostedEndpoint(host._daemon, "echo")
    eventually(lambda: watcher(host))
    with endpoint.locked(print):  # as if the watcher had been killed after it recorded and started a third worker
        os.kill(watcher(host), signal.SIGKILL)
        record = endpoint.add_workers(endpoint.record(), limited(spec), 1)
        endpoint.start_workers(state.variants[0].id, record.variants[state.variants[0].id])
        assert len(ports(host.state("echo"))) == 3
    eventually(lambda: ports(host.state("echo")) == ports(state))
    assert ask(state.url) == "1"
    assert host.state("echo").memory.replaced == 0


def test_a_limit_is_changed_and_removed_without_a_new_server(host: Host, spec: EndpointSpec) -> None:
    state = host.apply(limited(spec))
    raised = host.apply(limited(spec, memory_bytes=900 * MIB))
    assert processes(raised) == processes(state)
    assert raised.memory.limit == 900 * MIB
    free = host.apply(limited(spec, memory_bytes=0))
    assert processes(free) == processes(state)
    assert "echo--memory" not in host._daemon.programs()
    host.stop("echo")
    assert not host.alive()


def test_a_limit_ends_with_its_endpoint(host: Host, spec: EndpointSpec) -> None:
    host.apply(limited(spec))
    host.remove("echo")
    assert not host.alive()
