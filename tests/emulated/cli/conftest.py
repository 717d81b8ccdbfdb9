"""A folder as a user's: Pulumi.yaml, stack file, program, recipe; and the command line as a process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.platforms.registry import open_platform
from llmops_kit.cli.pulumi_engine.engine import ensure
from llmops_kit.cli.stacks.backend import STATE, folder_url
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from tests.support.runs.yes_rows import DATA, EVALUATION, write_yes_rows
from tests.support.tiny_models.models import tiny_model

PULUMI = f"""\
name: llmops
runtime:
  name: python
  options: {{toolchain: pip, virtualenv: {sys.prefix}}}
"""
PROGRAM = "from llmops_kit.infra.__main__ import main\n\nmain()\n"
RECIPE = f"""\
schema: recipe/2
name: chatbot
base_model: {{name: tiny, source: "store:tiny@1"}}
{DATA}
training: {{epochs: 12, batch_size: 4, learning_rate: 1.0e-2, checkpoint_steps: 5, threads: 1}}
{EVALUATION}
"""


@dataclass
class Kit:
    """The command line in a project."""

    folder: Path
    environ: dict[str, str]
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command in a process group of its own, as a terminal does."""
        process = subprocess.Popen(
            [sys.executable, "-m", "llmops_kit.cli", *arguments],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command to its end; what it printed."""
        process = self.start(*arguments)
        text, _ = process.communicate(timeout=3600)
        assert process.returncode == code, f"llmops {' '.join(arguments)}: {process.returncode}\n{text}"
        assert "Traceback" not in text
        return text

    def json(self, *arguments: str) -> Any:
        """Run a command with --json; its document, which begins after what the command says meanwhile."""
        text = self.run(*arguments, "--json")
        lines = text.splitlines()
        begin = next(i for i, line in enumerate(lines) if line in ("{", "[", "[]"))
        return json.loads("\n".join(lines[begin:]))

    def cancel(self, stack: str) -> None:
        """Free a stack whose update was killed, as the error says."""
        local = {"PULUMI_BACKEND_URL": folder_url(self.folder / STATE), "PULUMI_CONFIG_PASSPHRASE": ""}
        subprocess.run(
            [ensure().pulumi, "cancel", "--yes", "--stack", stack],
            cwd=self.folder,
            env=local | self.environ | ensure().env,
            stdin=subprocess.DEVNULL,
            check=True,
        )

    def platform(self, stack: str) -> LocalPlatform:
        """The deployed stack, in this process."""
        found = open_platform(PulumiStack(Project(self.folder), stack).outputs())
        assert isinstance(found, LocalPlatform)
        return found

    def deploy(self, stack: str) -> LocalPlatform:
        """A stack without endpoints, whose store has the tiny model as tiny@1."""
        (self.folder / f"Pulumi.{stack}.yaml").write_text("config:\n  llmops:target: local # here\n")
        self.run("up", "--stack", stack)
        platform = self.platform(stack)
        assert platform.store().put_model(tiny_model(), platform.sign).alias == "tiny@1"
        return platform

    def endpoint(self, stack: str, name: str = "chatbot") -> dict[str, Any]:
        """The endpoint's row of `status`."""
        return next(e for e in self.json("status", "--stack", stack)["endpoints"] if e["name"] == name)

    def processes(self) -> dict[int, str]:
        """Living processes that work for this folder: number -> command."""
        found = {}
        for process in psutil.process_iter():
            try:
                command = " ".join(process.cmdline())
                words = (process.cwd(), command, process.environ().get("LLMOPS_ROOT", ""))
            except psutil.Error:
                continue
            if process.pid != os.getpid() and any(str(self.folder) in word for word in words):
                found[process.pid] = command
        return found


@contextlib.contextmanager
def made_kit(folder: Path) -> Iterator[Kit]:
    """A project in a folder; no process of it outlives the block."""
    (folder / "Pulumi.yaml").write_text(PULUMI)
    (folder / "__main__.py").write_text(PROGRAM)
    (folder / "recipe.yaml").write_text(RECIPE)
    write_yes_rows(folder)
    with pytest.MonkeyPatch.context() as variables:
        for name in ("PULUMI_BACKEND_URL", "PULUMI_STACK", "PULUMI_CONFIG_PASSPHRASE"):
            variables.delenv(name, raising=False)
        variables.setenv("PULUMI_HOME", str(folder / "pulumi"))
        made = Kit(folder, dict(os.environ))
        yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    left = made.processes()
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with made_kit(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared_kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    """One that a file's tests use one after the other."""
    with made_kit(tmp_path_factory.mktemp("kit").resolve()) as made:
        yield made


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait for a condition; a deadline, so that a test ends."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def dead_pid() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid
