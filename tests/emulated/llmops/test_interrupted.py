"""`llmops up` that is killed or interrupted: the next one puts everything right."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.emulated.llmops.conftest import Kit, wait_until


def _begin_up(kit: Kit) -> "psutil.Process":
    """Start `llmops up` and wait until the worker of the endpoint is being started; the engine's process."""
    update = kit.start("up")
    engines: list[int] = []

    def started() -> object:
        assert update.poll() is None, update.communicate()[0]
        commands = kit.processes()
        engines[:] = [pid for pid, command in commands.items() if Path(command.partition(" ")[0]).name == "pulumi"]
        return engines and any(command.endswith("serving serve") for command in commands.values())

    wait_until(started)
    return psutil.Process(engines[0])


@pytest.fixture(scope="module")
def promoted(shared_kit: Kit) -> Kit:
    """A stack whose endpoint no update has started yet, or whose last one was taken down."""
    shared_kit.deploy("dev")
    shared_kit.run("promote", "tiny@1", "--force", "--reason", "imported", "--endpoint", "chatbot")
    return shared_kit


@pytest.fixture
def kit(promoted: Kit) -> Iterator[Kit]:
    yield promoted
    promoted.run("down")
    assert promoted.processes() == {}


def _alone(kit: Kit) -> None:
    """The endpoint serves, and no process of the broken update is left."""
    assert kit.endpoint("dev")["ready"] is True
    words = list(kit.processes().values())
    assert len([w for w in words if w.endswith("serving serve")]) == 1, words
    assert not [w for w in words if "pulumi" in w.split()[0]], words


@pytest.mark.scorecard("interrupted-up")
def test_kill_9_of_command_and_engine(kit: Kit) -> None:
    engine = _begin_up(kit)
    os.kill(kit.started[-1].pid, signal.SIGKILL)
    engine.kill()
    text = kit.run("up")
    assert f"taking over the lock of process {engine.pid}" in text
    assert "is live at" in text
    _alone(kit)
    assert "unchanged" in kit.run("up")
    _reboot(kit)
    assert kit.endpoint("dev")["ready"] is False
    assert "is live at" in kit.run("up")
    _alone(kit)


def _reboot(kit: Kit) -> None:
    """Leave no process of the stack, as a machine that went down does."""
    for pid in kit.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not kit.processes())


def test_kill_9_of_the_command_alone_is_waited_for(kit: Kit) -> None:
    engine = _begin_up(kit)
    os.kill(kit.started[-1].pid, signal.SIGKILL)
    text = kit.run("up")
    assert f"process {engine.pid} is changing stack dev; waiting" in text or "unchanged" in text
    _alone(kit)


def test_ctrl_c_ends_in_order(kit: Kit) -> None:
    _begin_up(kit)
    update = kit.started[-1]
    os.killpg(update.pid, signal.SIGINT)
    update.communicate(timeout=120)
    assert update.returncode == 130
    text = kit.run("up")
    assert "taking over" not in text, "the engine ended in order and gave its lock back"
    _alone(kit)
