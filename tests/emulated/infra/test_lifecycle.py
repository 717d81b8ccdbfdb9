"""Day 1 and day 2 of endpoints on this machine, by plain `pulumi` commands."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmops_kit.core.network.api_key import key_digest
from tests.emulated.infra.conftest import Stack, processes_of
from tests.support.checkout import CHECKOUT
from tests.support.servers.serving import until

MakeStack = Callable[..., Stack]
STORE = "store (llmops down keeps it)"
BODY = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2})


def test_the_life_of_an_endpoint(make_stack: MakeStack) -> None:
    stack = make_stack()
    first, second = stack.add_version("tiny@1"), stack.add_version("tiny@2", licence="MIT")

    stack.serve("chat", first)
    assert stack.changes() == {"hosting": "update", "image-serving": "create", "endpoint-chat": "create"}
    assert stack.host.list() == [], "a preview creates nothing"
    assert not stack.host.alive()
    stack.up()
    assert stack.answers("chat") == "tiny@1"
    assert stack.changes() == {}
    url = stack.outputs()["endpoints"]["chat"]["url"]

    canary = {"strategy": "canary", "canary_percent": 50, "bake_seconds": 3}
    stack.serve("chat", second, rollout=canary)
    stack.configure()
    plan = stack.pulumi("preview", "--diff")
    assert '"tiny@1" => "tiny@2"' in plan
    with stack.asking("chat") as answers:
        said = stack.up()
    assert set(answers) == {"tiny@1", "tiny@2"}
    assert "tiny@1" in answers[answers.index("tiny@2") :], "both versions answer while the canary is watched"
    assert "50 % of the requests go to" in said
    assert stack.answers("chat") == "tiny@2"
    assert stack.changes() == {}

    stack.serve("chat", second, endpoint=False)
    assert stack.changes() == {"endpoint-chat": "update"}
    stack.up()
    assert not stack.host.alive()
    assert stack.outputs()["endpoints"]["chat"]["url"] == ""
    stack.pulumi("refresh", "--yes")
    assert stack.changes() == {}
    stack.serve("chat", second)
    stack.up()
    assert stack.outputs()["endpoints"]["chat"]["url"] == url, "the port is kept"

    state = stack.state()
    for path in (stack.home / "keys").glob("*.key"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text().splitlines()[min(1, path.read_text().count("\n") - 1)] not in state


def test_a_change_of_one_endpoint_leaves_the_other_alone(shared: Stack) -> None:
    stack, second = shared, shared.add_version("tiny@2", licence="MIT")
    stack.serve("two", stack.version)
    stack.up()
    before = {name: stack.workers(name) for name in ("chat", "two")}
    stack.serve("two", second, size={"instances": 2})
    assert stack.changes() == {"endpoint-two": "update"}
    stack.up()
    assert stack.workers("chat") == before["chat"]
    assert len(stack.workers("two")) == 2
    assert not set(stack.workers("two")) & set(before["two"])
    del stack.entries["two"]
    assert stack.changes() == {"hosting": "update", "endpoint-two": "delete"}
    stack.up()
    assert stack.workers("chat") == before["chat"]
    assert [state.name for state in stack.host.list()] == ["chat"]
    assert not list((stack.home / "keys").glob("two*"))


@pytest.mark.scorecard("api-keys")
def test_keys_change_while_two_servers_share_their_budget(shared: Stack) -> None:
    stack = shared
    stack.serve("chat", stack.version, size={"instances": 2})
    stack.up()
    state, pids = stack.host.state("chat"), stack.workers("chat")
    ports = [worker.port for variant in state.variants for worker in variant.instances]
    everywhere = [state.port, *ports]
    assert {_ask(port, "sk-of-somebody-else")[0] for port in everywhere} == {401}

    free, bounded = _issue(stack, "free"), _issue(stack, "bounded", "--tokens-per-day", "1", "--expires", "30d")
    assert [_ask(port, free)[0] for port in everywhere] == [200] * 3
    assert _ask(ports[0], bounded)[0] == 200
    until(lambda: _rows(stack)["bounded"]["tokens_today"])
    refused = [(429, "token_budget_exceeded")] * 3
    assert [_ask(port, bounded) for port in everywhere] == refused
    assert _rows(stack)["default"]["tokens_today"] == 0
    kept = [path for path in stack.home.rglob("*") if path.is_file() and "store" not in path.parts]
    assert not [path for path in kept if any(key.encode() in path.read_bytes() for key in (free, bounded))]
    assert [path for path in kept if key_digest(free).encode() in path.read_bytes()] == [
        stack.home / "keys/chat/api_keys.json"
    ]

    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(
        lambda: not set(pids) & set(stack.workers("chat")) and [_ask(port, free)[0] for port in everywhere] == [200] * 3
    )
    assert [_ask(port, bounded) for port in everywhere] == refused
    pids = stack.workers("chat")

    with stack.asking("chat") as answers:
        stack.llmops("keys", "api", "revoke", "free", "--endpoint", "chat")
        assert {_ask(port, free) for port in everywhere} == {(401, "invalid_api_key")}
        assert _ask(state.port, bounded)[0] == 429
    assert set(answers) == {"tiny@1"}
    assert stack.workers("chat") == pids, "nothing was restarted"
    assert stack.changes() == {}
    assert "has no key free" in stack.llmops("keys", "api", "revoke", "free", code=4)
    stack.serve("chat", stack.version)
    stack.up()


def test_two_stacks_do_not_meet(shared: Stack) -> None:
    prod, dev = shared, Stack(shared.folder, "dev", shared.environ)
    dev.make()
    dev.up()
    dev.serve("chat", dev.add_version("tiny@1"))
    dev.up()
    before = prod.workers("chat"), prod.host.state("chat").router_pid, prod.state()
    assert dev.answers("chat") == "tiny@1"
    dev.pulumi("destroy", "--yes", "--exclude-protected", "--skip-preview")
    assert (prod.workers("chat"), prod.host.state("chat").router_pid) == before[:2]
    assert prod.changes() == {}
    assert prod.answers("chat") == "tiny@1"
    assert dev.home.is_dir()
    assert str(dev.home) not in before[2]
    _wait(lambda: not processes_of(dev.home))


@pytest.mark.scorecard("drift")
def test_a_dead_supervisor_is_drift_that_up_repairs(shared: Stack) -> None:
    stack = shared
    supervisor = psutil.Process(psutil.Process(stack.host.state("chat").router_pid).ppid())
    supervisor.kill()
    _wait(lambda: not processes_of(stack.home))
    text = stack.pulumi("refresh", "--yes", "--diff")
    assert '"running" => "stopped"' in text
    assert '"stopped" => "running"' in stack.pulumi("preview", "--diff")
    stack.up()
    assert stack.answers("chat") == "tiny@1"
    assert stack.changes() == {}


def test_what_somebody_removed_comes_back(shared: Stack) -> None:
    stack = shared
    stack.host.remove("chat")
    stack.pulumi("refresh", "--yes")
    assert stack.changes() == {"endpoint-chat": "create"}
    stack.up()
    assert stack.answers("chat") == "tiny@1"


def test_mistakes_change_nothing_and_show_no_traceback(shared: Stack) -> None:
    stack, model, before = shared, shared.version, shared.workers("chat")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stack.serve("chat", model, port=port)
        stack.configure()
        text = stack.pulumi("up", "--yes", "--skip-preview", refused=True)
    assert str(port) in text
    assert "fix: " in text
    assert stack.workers("chat") == before
    stack.serve("chat", model, prot=1)
    stack.configure()
    for command in (("preview",), ("up", "--yes", "--skip-preview")):
        text = stack.pulumi(*command, refused=True)
        # The engine adds its salt, and formats it.
        lines = (stack.folder / f"Pulumi.{stack.name}.yaml").read_text().splitlines()
        line = next(n for n, words in enumerate(lines, 1) if "prot:" in words)
        assert f"Pulumi.{stack.name}.yaml:{line}: llmops:endpoints.chat.prot: unknown key" in text
    stack.serve("chat", "tiny@9@sha256:" + "0" * 64)
    stack.configure()
    assert "the stack's store has no tiny@9" in stack.pulumi("preview", refused=True)
    assert stack.workers("chat") == before


def test_an_endpoint_of_a_killed_up_goes_when_its_entry_goes(shared: Stack) -> None:
    stack, before = shared, shared.workers("chat")
    stack.serve("cut", stack.version)
    _kill_while_creating(stack, "cut")
    stack.pulumi("cancel", "--yes")
    del stack.entries["cut"]
    stack.up()
    assert [state.name for state in stack.host.list()] == ["chat"]
    assert stack.workers("chat") == before
    _wait(lambda: len(_supervisors(stack)) == 1)


@pytest.mark.scorecard("destroy-refused")
def test_destroy_refuses_the_data_and_says_the_way_out(shared: Stack) -> None:
    """And an `up` after it that is killed half way is made good by the next one, without orphans."""
    stack, model, before = shared, shared.version, shared.workers("chat")
    text = stack.pulumi("destroy", "--yes", refused=True)
    assert "protected" in text
    assert STORE in text, "the fix is in the resource's name"
    assert stack.workers("chat") == before
    stack.pulumi("destroy", "--yes", "--exclude-protected")
    _wait(lambda: not processes_of(stack.folder))
    assert (stack.home / "store/models" / model.partition("sha256:")[2] / "manifest.json").is_file()
    assert (stack.home / "keys/signing.key").is_file()

    _kill_while_creating(stack, "chat")
    stack.pulumi("cancel", "--yes")
    stack.up()
    assert stack.answers("chat") == "tiny@1"
    assert len(stack.workers("chat")) == 1
    assert len(_supervisors(stack)) == 1
    assert stack.changes() == {}
    stack.pulumi("destroy", "--yes", "--exclude-protected", "--skip-preview")
    _wait(lambda: not processes_of(stack.folder))


def test_a_moved_checkout_keeps_its_data_and_its_store_goes_only_unprotected_and_emptied(
    make_stack: MakeStack,
) -> None:
    """Of the checkout's own layout: Pulumi.yaml with `main: infra`, whose folder is then first on sys.path."""
    stack = make_stack(deploy=False)
    shutil.copytree(CHECKOUT / "infra", stack.folder / "infra", ignore=shutil.ignore_patterns("__pycache__"))
    (stack.folder / "__main__.py").unlink()
    (stack.folder / "Pulumi.yaml").write_text((stack.folder / "Pulumi.yaml").read_text() + "main: infra\n")
    stack.up()
    assert stack.outputs()["project"] == str(stack.folder)
    assert (stack.home / "store/store.json").exists()
    stack.add_version("tiny@1")
    _moves(stack)
    _is_emptied(stack)


def _ask(port: int, key: str) -> tuple[int, str]:
    """Status and error code of an answer; 0 from a server that is starting."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/v1/chat/completions", BODY, {"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        return response.status, json.loads(response.read()).get("error", {}).get("code", "")
    except ConnectionError:
        return 0, ""
    finally:
        connection.close()


def _issue(stack: Stack, name: str, *options: str) -> str:
    said = stack.llmops("keys", "api", "issue", name, "--endpoint", "chat", "--owner", "team", "--json", *options)
    return json.loads(said)["api_key"]


def _rows(stack: Stack) -> dict[str, dict[str, Any]]:
    found = json.loads(stack.llmops("keys", "api", "list", "--json"))
    return {row["name"]: row for row in found}


def _moves(stack: Stack) -> None:
    public_key = stack.outputs()["signing"]["public_key"]
    moved = stack.folder.with_name("moved")
    stack.folder.rename(moved)
    stack.folder = moved
    stack.up()
    assert stack.outputs()["signing"]["public_key"] == public_key
    assert stack.outputs()["store"]["url"] == (moved / ".llmops/one/store").as_uri()
    assert stack.changes() == {}


def _is_emptied(stack: Stack) -> None:
    stack.pulumi("state", "unprotect", "--all", "--yes")
    text = stack.pulumi("destroy", "--yes", "--skip-preview", refused=True)
    assert "the store is not empty" in text
    assert "llmops down --data" in text
    for kind in ("models", "aliases"):
        for path in sorted((stack.home / "store" / kind).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    stack.pulumi("destroy", "--yes", "--skip-preview")
    assert not (stack.home / "store").exists()
    assert not (stack.home / "keys/signing.key").exists()


def _supervisors(stack: Stack) -> list[psutil.Process]:
    return [process for process in processes_of(stack.folder) if "supervisor.supervisord" in process.cmdline()]


def _kill_while_creating(stack: Stack, endpoint: str) -> None:
    """kill -9 `pulumi up` as soon as the local runtime has heard of an endpoint."""
    stack.configure()
    record = stack.home / "hosting/endpoints" / endpoint / "endpoint.json"
    process = stack.start("up", "--yes", "--skip-preview")
    _wait(record.exists)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout
    process.stdout.close()
    _wait(lambda: not _plugins(stack.folder))


def _plugins(folder: Path) -> list[psutil.Process]:
    """What an engine starts besides the endpoints: its language host and providers."""
    found = []
    for process in processes_of(folder):
        with contextlib.suppress(psutil.Error):
            if "PULUMI_BACKEND_URL" in process.environ():
                found.append(process)
    return found


def _wait(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
