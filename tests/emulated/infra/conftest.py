"""Stacks in folders of their own, under the real engine, with the real serving image and a tiny model."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML

from contract.layout import MANIFEST, alias_key, model_key
from contract.signing import sign
from contract.store import Alias
from hosting.host import Host
from llmops.engine import ensure
from tests.support.models import copy_model, tiny_model

CHECKOUT = Path(__file__).resolve().parents[3]
PROGRAM = "from infra.__main__ import main\n\nmain()\n"


@dataclass
class Stack:
    """A stack of a project in `folder`, driven as a user drives it: by `pulumi`."""

    folder: Path
    name: str
    environ: Mapping[str, str]
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """Where the stack keeps everything."""
        return self.folder / ".llmops" / self.name

    @property
    def host(self) -> Host:
        """What hosts its endpoints."""
        return Host(self.home / "hosting")

    def pulumi(self, *arguments: str, refused: bool = False) -> str:
        """Run a command of the engine; its whole output. It must fail if, and only if, `refused`."""
        process = self.start(*arguments)
        text, _ = process.communicate(timeout=300)
        assert bool(process.returncode) == refused, f"pulumi {' '.join(arguments)}: {process.returncode}\n{text}"
        assert "Traceback" not in text
        return text

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command of the engine in a process group of its own."""
        command = [str(ensure().pulumi), *arguments, "--stack", self.name, "--non-interactive"]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def up(self) -> str:
        """`pulumi up` of the entries."""
        self.configure()
        return self.pulumi("up", "--yes", "--skip-preview")

    def changes(self, *arguments: str) -> dict[str, str]:
        """What `pulumi preview` of the entries would do: logical name -> operation; nothing that stays the same."""
        self.configure()
        text = self.pulumi("preview", "--json", *arguments)
        steps = json.loads(text[text.index("{") :])["steps"]
        return {s["urn"].rpartition("::")[2]: s["op"] for s in steps if s["op"] not in ("same", "read", "refresh")}

    def configure(self) -> None:
        """Write the stack's file."""
        YAML().dump({"config": {"llmops:endpoints": self.entries}}, self.folder / f"Pulumi.{self.name}.yaml")

    def state(self) -> str:
        """The exported state, as text."""
        return self.pulumi("stack", "export")

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs."""
        return json.loads(self.pulumi("stack", "output", "--json"))

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

    def serve(self, name: str, model: str, **fields: Any) -> None:
        """Write an entry. The tiny model was never evaluated, so its gate is waived."""
        self.entries[name] = {"model": model, "gate": "waived", **fields}

    def answers(self, endpoint: str) -> str:
        """The name of the version that answers behind an endpoint's URL."""
        output = self.outputs()["endpoints"][endpoint]
        key = Path(output["key"]).read_text().strip()
        request = urllib.request.Request(f"{output['url']}/v1/models", headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)["data"][0]["id"]

    def workers(self, endpoint: str) -> list[int]:
        """Process ids of an endpoint's workers."""
        return [i.pid for v in self.host.state(endpoint).variants for i in v.instances if i.pid]


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Makes deployed, empty stacks; at the end no process of any may be left."""
    environ = dict(os.environ) | ensure().env
    environ |= {
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
        "PULUMI_HOME": str(tmp_path / "pulumi"),
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_SKIP_UPDATE_CHECK": "1",
        "VIRTUAL_ENV": sys.prefix,
    }
    (tmp_path / "state").mkdir()
    (tmp_path / "project").mkdir()
    made: list[Stack] = []

    def make(name: str = "one", folder: str = "project", *, deploy: bool = True) -> Stack:
        stack = Stack(tmp_path / folder, name, environ)
        stack.folder.mkdir(exist_ok=True)
        text = (CHECKOUT / "Pulumi.yaml").read_text().replace("virtualenv: .venv", f"virtualenv: {sys.prefix}")
        (stack.folder / "Pulumi.yaml").write_text(text.replace("main: infra\n", ""))
        (stack.folder / "__main__.py").write_text(PROGRAM)
        made.append(stack)
        stack.configure()
        stack.pulumi("stack", "init")
        if deploy:
            stack.up()
        return stack

    yield make
    for stack in made:
        stack.host.shutdown()
    left = processes_of(tmp_path)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    shutil.rmtree(tmp_path, ignore_errors=True)  # copies of the model
    assert not left


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
