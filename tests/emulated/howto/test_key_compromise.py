"""The page on a compromised key: its commands, while an endpoint of this machine serves."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops_kit.core.integrity.envelopes import read_keys
from tests.emulated.howto.conftest import find_page
from tests.emulated.infra.conftest import Stack, stacks_in
from tests.support.servers.serving import until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose endpoint serves tiny@1."""
    with stacks_in(tmp_path_factory.mktemp("keys").resolve()) as make:
        made = make("demo")
        made.version = made.add_version("tiny@1")
        made.serve("chat", made.version)
        made.up()
        yield made


def _follow(stack: Stack, block: str) -> str:
    environ = stack.environ | {
        "PULUMI_STACK": stack.name,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", block], cwd=stack.folder, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.scorecard("tampered-refused")
def test_a_key_is_replaced_while_an_endpoint_serves(stack: Stack) -> None:
    planted = stack.add_version("tiny@2", licence="MIT")  # by who has the key
    page = find_page("key-compromise").read_text().replace("chatbot@", "tiny@")  # as the tiny model is called
    blocks = re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    with stack.asking("chat") as answers:
        shown, rotated, resigned, verified = [_follow(stack, block) for block in blocks]
    assert len(answers) > 10
    assert set(answers) == {"tiny@1"}, "no request failed"
    assert "signs" in shown
    assert re.search(r"signed +by \S+, 20\d\d-", shown)
    assert "keys: 2" in rotated
    assert "tiny@1" in resigned
    assert "tiny@1" in verified

    (left,) = read_keys(stack.outputs()["signing"]["public_key"], "outputs")
    states = dict(line.split()[:2] for line in stack.llmops("keys", "list").splitlines()[1:])
    assert states[left] == "signs"
    assert sorted(states.values()) == ["revoked", "signs"]
    refused = stack.llmops("promote", "tiny@2", "--force", "--reason", "try", code=5)
    assert "a public key that the stack trusts" in refused

    before = stack.workers("chat")
    os.kill(before[0], signal.SIGKILL)
    until(lambda: not set(before) & set(stack.workers("chat")) and stack.host.state("chat").ready)
    assert stack.answers("chat") == "tiny@1", "it loads by the new key alone"
    assert planted not in (stack.folder / "Pulumi.demo.yaml").read_text()


def test_a_revoked_version_and_an_unreadable_list_stop_what_loads_and_not_what_serves(stack: Stack) -> None:
    folder = stack.home / "store"
    lists = sorted((folder / "revoked").glob("*.json"))
    kept = lists[-1].read_bytes()
    lists[-1].chmod(0o600)
    lists[-1].write_bytes(kept[:50])
    with stack.asking("chat") as answers:
        refused = stack.llmops("promote", "tiny@1", "--force", "--reason", "try", code=5)
        assert "the list of revocations can't be read" in refused
        lists[-1].write_bytes(kept)
        stack.llmops("models", "revoke", "tiny@1", "--reason", "leaked data")
        assert "leaked data" in stack.llmops("promote", "tiny@1", "--force", "--reason", "try", code=3)
    assert set(answers) == {"tiny@1"}
    os.kill(stack.workers("chat")[0], signal.SIGKILL)
    until(lambda: "the version was revoked by" in stack.llmops("logs", "chat"))
