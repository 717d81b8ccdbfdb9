"""`llmops up` that is killed or interrupted: the next one puts everything right, once a killed one's lock is gone."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.emulated.cli.conftest import Kit, wait_until


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
    engine.wait(60)
    refused = kit.run("up", code=1)
    assert f"stack dev is being changed by process {engine.pid} of" in refused
    assert "`pulumi cancel --stack dev` frees the stack" in refused
    kit.cancel("dev")
    assert "is live at" in kit.run("up")
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


def test_kill_9_of_the_command_alone_lets_its_engine_go_on(kit: Kit) -> None:
    engine = _begin_up(kit)
    update = kit.started[-1]
    update.kill()
    update.wait()  # a process group that is orphaned while one of it is stopped gets SIGHUP from the kernel
    engine.suspend()  # so that its update does not end before the next one looks
    assert f"is being changed by process {engine.pid} of" in kit.run("up", code=1)
    engine.resume()
    with contextlib.suppress(psutil.NoSuchProcess):
        engine.wait(120)
    assert "unchanged" in kit.run("up")
    _alone(kit)


def test_ctrl_c_ends_in_order(kit: Kit) -> None:
    _begin_up(kit)
    update = kit.started[-1]
    os.killpg(update.pid, signal.SIGINT)
    update.communicate(timeout=120)
    assert update.returncode == 130
    kit.run("up")  # the engine ended in order and gave its lock back
    _alone(kit)
