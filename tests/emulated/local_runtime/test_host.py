"""Endpoints with real processes: what survives, what is rolled back, and that no request is lost."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import llmops_kit
from llmops_kit.core.errors import HostingError
from llmops_kit.local_runtime.child import MARK
from llmops_kit.local_runtime.host import Host
from llmops_kit.local_runtime.spec import EndpointSpec, EndpointState, VariantRollout
from tests.support.checkout import CHECKOUT


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode()


def changed(spec: EndpointSpec, **changes: Any) -> EndpointSpec:
    return EndpointSpec.model_validate(spec.model_dump() | changes)


def pids(state: EndpointState) -> set[int]:
    return {state.router_pid, *(i.pid for v in state.variants for i in v.instances)}


def processes_of(home: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(f"{home}:") or process.cwd() == str(home):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_an_unchanged_spec_changes_nothing(host: Host, spec: EndpointSpec) -> None:
    first = host.apply(spec)
    again = Host(host.home).apply(EndpointSpec.model_validate_json(spec.model_dump_json()))
    assert first.ready
    assert again == first


@pytest.mark.scorecard("rolling-restart")
def test_an_update_under_load_loses_no_request(
    host: Host, spec: EndpointSpec, load: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    state = host.apply(changed(spec, instances=2))
    clients = load(state.url, 8)
    clients.wait_for(8, "1")
    after = host.apply(changed(spec, instances=2, environ={"VERSION": "2"}))
    clients.wait_for(8, "2")
    clients.stop()
    assert clients.failures == []
    assert clients.answers[0].startswith("data: 1")
    assert after.url == state.url
    assert not pids(after) & (pids(state) - {state.router_pid})
    assert [v.weight for v in after.variants] == [100]


def test_more_and_fewer_instances_under_load_lose_no_request(
    host: Host, spec: EndpointSpec, load: Callable[..., Any]
) -> None:
    one = host.apply(spec)
    clients = load(one.url, 4)
    three = host.apply(changed(spec, instances=3))
    clients.wait_for(8)
    back = host.apply(spec)
    clients.wait_for(8)
    clients.stop()
    assert clients.failures == []
    assert len(pids(three)) == 4
    assert pids(back) == pids(one)


@pytest.mark.scorecard("kill-worker")
def test_a_killed_worker_answers_again(host: Host, spec: EndpointSpec, eventually: Callable[..., None]) -> None:
    state = host.apply(spec)
    (pid,) = pids(state) - {state.router_pid}
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: get(f"{state.url}/stream?n=1") and host.state("echo").ready)
    after = host.state("echo")
    assert after.variants[0].instances[0].restarts == 1
    assert after.variants[0].instances[0].pid != pid


def test_requests_wait_while_the_only_worker_restarts(host: Host, spec: EndpointSpec) -> None:
    state = host.apply(spec)
    (pid,) = pids(state) - {state.router_pid}
    os.kill(pid, signal.SIGKILL)
    assert get(f"{state.url}/stream?n=1") == "data: 1 0\n\n"


def test_everything_dies_with_the_supervisor_and_the_next_apply_brings_it_back(
    host: Host, spec: EndpointSpec, eventually: Callable[..., None]
) -> None:
    state = host.apply(spec)
    other = host.apply(changed(spec, name="other"))
    (supervisor,) = set(processes_of(host.home)) - pids(state) - pids(other)
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: processes_of(host.home) == [])
    down = host.state("echo")
    assert (host.alive(), down.on, down.ready, pids(down)) == (False, True, False, {0})
    up = host.apply(spec)
    assert (up.url, up.ready) == (state.url, True)
    assert get(up.url) == "1"
    eventually(lambda: host.state("other").ready)


def test_changing_one_endpoint_leaves_the_other_alone(host: Host, spec: EndpointSpec) -> None:
    host.apply(spec)
    other = host.apply(changed(spec, name="other"))
    host.apply(changed(spec, environ={"VERSION": "2"}))
    assert host.state("other") == other
    host.remove("echo")
    assert host.state("other") == other
    assert [e.name for e in host.list()] == ["other"]


def test_two_homes_do_not_meet(host: Host, spec: EndpointSpec, tmp_path: Path) -> None:
    second = Host(tmp_path / "a home #2; as deep as it gets" / ("x" * 100))
    try:
        state, other = host.apply(spec), second.apply(changed(spec, environ={"VERSION": "2"}))
        assert (get(state.url), get(other.url)) == ("1", "2")
        second.shutdown()
        assert processes_of(second.home) == []
        assert host.state("echo") == state
    finally:
        second.shutdown()


def test_stop_keeps_the_port_and_remove_leaves_nothing(host: Host, spec: EndpointSpec) -> None:
    state = host.apply(spec)
    host.stop("echo")
    off = host.state("echo")
    assert (off.on, off.url, off.port, off.variants) == (False, "", state.port, [])
    assert processes_of(host.home) == []
    assert host.apply(spec).url == state.url
    host.remove("echo")
    assert processes_of(host.home) == []
    assert host.list() == []
    with pytest.raises(HostingError, match="no endpoint 'echo'"):
        host.state("echo")


def test_a_variant_that_crashes_is_given_up_with_its_log_and_the_old_one_serves(host: Host, spec: EndpointSpec) -> None:
    state = host.apply(spec)
    with pytest.raises(HostingError, match=r"(?s)ended \d times before it was ready.*no such weights"):
        host.apply(changed(spec, environ={"CRASH": "no such weights"}))
    assert host.state("echo") == state
    assert get(state.url) == "1"


def test_a_variant_that_is_never_ready_is_given_up(host: Host, spec: EndpointSpec) -> None:
    with pytest.raises(HostingError, match="not ready within 1 s; its last lines"):
        host.apply(changed(spec, environ={"PING": "503"}, ready_seconds=1))
    assert processes_of(host.home) == []


def test_a_taken_port_is_named_with_its_holder(host: Host, spec: EndpointSpec) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(HostingError, match=rf"port {port} on 127.0.0.1 is taken by .*pid {os.getpid()}.*\n.*fix: "):
            host.apply(changed(spec, port=port))
    assert processes_of(host.home) == []
    assert host.apply(changed(spec, port=port)).url == f"http://127.0.0.1:{port}"


def test_another_port_moves_the_router_and_keeps_the_worker(host: Host, spec: EndpointSpec) -> None:
    state = host.apply(spec)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    moved = host.apply(changed(spec, port=port))
    assert get(f"http://127.0.0.1:{port}") == "1"
    assert moved.variants == state.variants
    with pytest.raises(urllib.error.URLError):
        get(state.url)


def test_a_kit_updated_in_place_replaces_the_router_and_keeps_the_worker(
    host: Host, spec: EndpointSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = tmp_path / "kit/llmops_kit"
    shutil.copytree(CHECKOUT / "hosting/llmops_kit", kit, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(llmops_kit, "__path__", [str(kit), *llmops_kit.__path__])
    state = host.apply(spec)
    assert host.apply(spec) == state
    with (kit / "local_runtime/routing/balance.py").open("a") as f:
        f.write("# an update\n")
    renewed = host.apply(spec)
    assert renewed.router_pid != state.router_pid
    assert (renewed.variants, renewed.url, renewed.ready) == (state.variants, state.url, True)
    assert get(state.url) == "1"


CANARY = {"strategy": "canary", "canary_percent": 50, "bake_seconds": 20, "most_errors": 0.05}


@pytest.mark.scorecard("bad-canary")
def test_a_canary_that_answers_errors_is_rolled_back(host: Host, spec: EndpointSpec, load: Callable[..., Any]) -> None:
    state = host.apply(spec)
    clients = load(state.url, 2)
    asking = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import urllib.request as u\nwhile True:\n try: u.urlopen('{state.url}/x')\n except OSError: 0",
        ]
    )
    try:
        with pytest.raises(HostingError, match=r"rolled back: \d+ of its \d+ requests failed"):
            host.apply(changed(spec, environ={"VERSION": "2", "FAIL": "1"}, rollout=CANARY))
    finally:
        asking.kill()
        asking.wait()
    clients.stop()
    assert clients.failures == []
    after = host.state("echo")
    assert (after.variants, after.spec) == (state.variants, spec)


@pytest.mark.scorecard("bad-canary")
def test_a_canary_that_dies_is_rolled_back(host: Host, spec: EndpointSpec, eventually: Callable[..., None]) -> None:
    state = host.apply(spec)
    wanted = changed(spec, environ={"VERSION": "2"}, rollout=CANARY)
    command = [sys.executable, "-c", _APPLY, str(host.home), wanted.model_dump_json()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as change:
        eventually(lambda: [v.weight for v in host.state("echo").variants] == [50, 50])
        new = next(v for v in host.state("echo").variants if v.id == wanted.variant)
        os.kill(new.instances[0].pid, signal.SIGKILL)
        error = change.communicate()[1]
    assert "was rolled back: one of its workers ended" in error
    assert host.state("echo") == state


def test_a_good_canary_takes_over(host: Host, spec: EndpointSpec, load: Callable[..., Any]) -> None:
    state = host.apply(spec)
    clients = load(state.url, 4)
    after = host.apply(changed(spec, environ={"VERSION": "2"}, rollout=CANARY | {"bake_seconds": 1}))
    clients.wait_for(4, "2")
    clients.stop()
    assert clients.failures == []
    assert [v.weight for v in after.variants] == [100]
    assert get(after.url) == "2"


def test_manual_rollout_leaves_the_traffic_to_its_caller(host: Host, spec: EndpointSpec) -> None:
    old = host.apply(spec).variants[0]
    both = host.apply(changed(spec, environ={"VERSION": "2"}, rollout={"strategy": "manual"}))
    assert {v.weight for v in both.variants} == {100, 0}
    (new,) = [v for v in both.variants if v.id != old.id]
    wanted = urllib.request.Request(both.url, headers={"X-Llmops-Variant": new.id})
    assert urllib.request.urlopen(wanted, timeout=60).read() == b"2"
    every = urllib.request.Request(both.url, headers={"X-Llmops-Variant": "*"})
    listed = json.loads(urllib.request.urlopen(every, timeout=60).read())["data"]
    assert {(v["id"], v["weight"]) for v in listed} == {(old.id, 100), (new.id, 0)}
    unknown = urllib.request.Request(both.url, headers={"X-Llmops-Variant": "v0"})
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(unknown, timeout=60)
    host.set_traffic("echo", {old.id: 1, new.id: 3})
    answers = [get(both.url) for _ in range(8)]
    assert sorted(answers) == ["1"] * 2 + ["2"] * 6
    with pytest.raises(HostingError, match="no variant nonsense"):
        host.set_traffic("echo", {"nonsense": 1})
    assert host.apply(spec).variants == [old]


_APPLY = """
import sys
from pathlib import Path
from llmops_kit.core.errors import HostingError
from llmops_kit.local_runtime.child import MARK
from llmops_kit.local_runtime.host import Host
from llmops_kit.local_runtime.spec import EndpointSpec
try:
    Host(Path(sys.argv[1])).apply(EndpointSpec.model_validate_json(sys.argv[2]))
except HostingError as e:
    sys.exit(str(e))
"""


@pytest.mark.parametrize("moment", range(5))
def test_an_apply_that_is_killed_is_put_right_by_the_next(
    host: Host, spec: EndpointSpec, load: Callable[..., Any], moment: int
) -> None:
    state = host.apply(spec)
    clients = load(state.url, 2)
    wanted = changed(spec, environ={"VERSION": "2"})
    # The update takes about half a second after half a second of imports.
    process = subprocess.Popen([sys.executable, "-c", _APPLY, str(host.home), wanted.model_dump_json()])
    try:
        process.wait(0.4 + 0.2 * moment)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    after = host.apply(changed(spec, environ={"VERSION": "3"}) if moment % 2 else wanted)
    clients.wait_for(2, "3" if moment % 2 else "2")
    clients.stop()
    assert clients.failures == []
    assert len(after.variants) == 1
    assert set(processes_of(host.home)) - pids(after) == {host._daemon.pid()}


def command_of(pid: int) -> list[str]:
    """A process' words; none if it has ended by now."""
    try:
        return psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        return []


def test_a_first_apply_that_is_killed_leaves_no_orphan(host: Host, spec: EndpointSpec) -> None:
    slow = changed(spec, environ={"PING": "503"})
    process = subprocess.Popen([sys.executable, "-c", _APPLY, str(host.home), slow.model_dump_json()])
    try:
        while not any("echo" in command_of(p) for p in processes_of(host.home)):
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    after = host.apply(spec)
    assert after.ready
    assert set(processes_of(host.home)) - pids(after) == {host._daemon.pid()}


def test_two_applies_of_one_endpoint_take_turns(host: Host, spec: EndpointSpec) -> None:
    specs = [changed(spec, environ={"VERSION": str(n)}).model_dump_json() for n in range(3)]
    running = [subprocess.Popen([sys.executable, "-c", _APPLY, str(host.home), s]) for s in specs]
    assert [p.wait() for p in running] == [0, 0, 0]
    state = host.state("echo")
    assert (state.ready, len(state.variants)) == (True, 1)
    assert set(processes_of(host.home)) - pids(state) == {host._daemon.pid()}


def test_a_process_sees_only_its_own_root_and_variables(host: Host, spec: EndpointSpec, tmp_path: Path) -> None:
    model = tmp_path / "version"
    model.mkdir()
    (model / "weights").write_text("w")
    mounted = changed(spec, folders={"/opt/ml/model": str(model)}, environ={"MODEL": "/opt/ml/model/weights"})
    os.environ["SECRET_OF_THE_CALLER"] = "1"
    try:
        state = host.apply(mounted)
    finally:
        del os.environ["SECRET_OF_THE_CALLER"]
    environ = psutil.Process(state.variants[0].instances[0].pid).environ()
    assert Path(environ["MODEL"]).read_text() == "w"
    assert Path(environ["LLMOPS_ROOT"], "opt/ml/model/weights").read_text() == "w"
    assert environ["LLMOPS_ROOT"].startswith(str(host.home))
    assert "SECRET_OF_THE_CALLER" not in environ
    assert not [k for k in environ if k.startswith("SUPERVISOR")]


def test_logs_name_their_program(host: Host, spec: EndpointSpec) -> None:
    state = host.apply(spec)
    lines = list(host.logs("echo"))
    assert f"{state.variants[0].id}-{state.variants[0].instances[0].port}: version 1 starts" in lines
    assert any(line.startswith("router: router of echo on") for line in lines)


def test_what_is_missing_is_said_before_anything_starts(host: Host, spec: EndpointSpec, tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere")
    for change, message in [
        ({"image": "process:echo@sha256:" + "0" * 64}, "not built on this machine"),
        ({"image": "ghost"}, "not an image that runs here"),
        ({"folders": {"/opt/ml/model": missing}}, f"{missing}: does not exist"),
        ({"folders": {"model": str(tmp_path)}}, "not an absolute path"),
        ({"environ": {"A": "1\n2"}}, "more than one line"),
    ]:
        with pytest.raises(HostingError, match=message):
            host.apply(changed(spec, **change))
    assert processes_of(host.home) == []
    assert VariantRollout().strategy == "all_at_once"
