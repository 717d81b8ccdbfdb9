"""Stacks in folders of their own, under the real engine, with the real serving image and a tiny model."""

import contextlib
import json
import os
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmops_kit.core.documents.store import Alias
from llmops_kit.core.integrity.signing import sign
from llmops_kit.core.layout import MANIFEST, alias_key, model_key
from llmops_kit.local_runtime.host import Host
from tests.support import stacks
from tests.support.stacks import pulumi_environ
from tests.support.tiny_models.models import copy_model, tiny_model


@dataclass
class Stack(stacks.Stack):
    """A stack of target local."""

    version: str = ""
    """What a shared stack's endpoint serves."""

    @property
    def home(self) -> Path:
        """Where the stack keeps everything."""
        return self.folder / ".llmops" / self.name

    @property
    def host(self) -> Host:
        """What hosts its endpoints."""
        return Host(self.home / "hosting")

    def add_version(self, alias: str, licence: str = "") -> str:
        """Put the tiny model into the store, signed; what a promotion writes. Another licence, another identity."""
        incoming = copy_model(tiny_model(), self.home / "store" / ".incoming")
        if licence:
            manifest = json.loads((incoming / MANIFEST).read_text()) | {"licence": licence}
            (incoming / MANIFEST).write_text(json.dumps(manifest))
        sha256 = sign(incoming, self.home / "keys" / "signing.key")
        (self.home / "store" / "models").mkdir(exist_ok=True)
        incoming.rename(self.home / "store" / model_key(sha256))
        name, number = alias.split("@")
        document = Alias.new(name=name, number=int(number), sha256=sha256, created="2026-11-25T00:00:00Z")
        document.write(self.home / "store" / alias_key(name, int(number)))
        return f"{alias}@sha256:{sha256}"

    def answers(self, endpoint: str) -> str:
        """The name of the version that answers behind an endpoint's URL."""
        return _served(self.outputs()["endpoints"][endpoint])

    @contextlib.contextmanager
    def asking(self, endpoint: str) -> Iterator[list[str]]:
        """Ask an endpoint again and again meanwhile; the names of the versions that answer, in turn, or errors."""
        output, answers, ended = self.outputs()["endpoints"][endpoint], list[str](), threading.Event()

        def ask() -> None:
            while not ended.wait(0.05):  # not at once, which would take the processor from what is asked
                try:
                    answers.append(_served(output))
                except OSError as e:
                    answers.append(repr(e))

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield answers
        finally:
            ended.set()
            thread.join()

    def workers(self, endpoint: str) -> list[int]:
        """Process ids of an endpoint's workers."""
        return [i.pid for v in self.host.state(endpoint).variants for i in v.instances if i.pid]


def _served(output: dict[str, Any]) -> str:
    """The name of the version that answers a request to an endpoint, by its output."""
    key = Path(output["key"]).read_text().strip()
    request = urllib.request.Request(f"{output['url']}/v1/models", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)["data"][0]["id"]


@contextlib.contextmanager
def stacks_in(folder: Path) -> Iterator[Callable[..., Stack]]:
    """Makes deployed, empty stacks; at the end no process of any may be left."""
    environ = pulumi_environ(folder)
    made: list[Stack] = []

    def make(name: str = "one", project: str = "project", *, deploy: bool = True) -> Stack:
        stack = Stack(folder / project, name, environ)
        made.append(stack)
        stack.make()
        if deploy:
            stack.up()
        return stack

    yield make
    for stack in made:
        stack.host.shutdown()
    left = processes_of(folder)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)  # copies of the model
    assert not left


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Makes stacks of a test's own."""
    with stacks_in(tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose endpoint `chat` serves tiny@1, for all tests of a module."""
    with stacks_in(tmp_path_factory.mktemp("shared").resolve()) as make:
        stack = make("shared")
        stack.version = stack.add_version("tiny@1")
        stack.serve("chat", stack.version)
        stack.up()
        yield stack


@pytest.fixture
def shared(shared_stack: Stack) -> Iterator[Stack]:
    """That stack; a test that changes it deploys `chat` alone again."""
    yield shared_stack
    shared_stack.entries.clear()
    shared_stack.serve("chat", shared_stack.version)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Processes that a folder's stacks started: supervisors, routers, workers, engines and their plugins."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            words = [*process.cmdline(), process.cwd(), process.environ().get("PULUMI_BACKEND_URL", "")]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append(process)
    return found
