"""The exact permissions that a deployer needs, recorded during a stack's lifecycle on a temporary twin.

The lifecycle uses the stack's own program and settings: up, a change of each kind, a check for drift, down, up again,
down with its data. Only the permissions of the deployer's own calls are written; a cloud's part adds what its twin
can't show.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmops_kit.cli.deploying.promotion import promotion_log
from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.interfaces.recording import Recording
from llmops_kit.cli.platforms import registry
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.cli.store.store import now
from llmops_kit.core.documents.model import GateResult, Golden, Lineage, Message, ModelManifest
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.errors import KitError
from llmops_kit.core.integrity.digest import file_entries

_IMAGES = {
    name.replace("-", "_"): f"process:{name}@sha256:{'0' * 64}" for name in ("training", "serving", "serving-vllm")
}
_SOME_ENDPOINT = "chatbot"


def record_policy(stack: PulumiStack, say: Say) -> dict[str, Any]:
    """Runs the stack's lifecycle on a twin, and returns the permissions that its deployer used.

    Returns:
        An IAM policy or a role definition, for the account of the stack; `*` for what is unknown without credentials.

    Raises:
        KitError: the stack is on no cloud, or its program fails on the twin (with its message).
    """
    recording = registry.recording(stack)
    recording.require()
    with tempfile.TemporaryDirectory(prefix="llmops-policy-") as temporary:
        home = Path(temporary) / "twin"
        say("recording on a temporary twin (a minute or two)")
        environment = recording.up(home)
        try:
            life = _Life(stack, recording, Path(temporary) / "project", environment, say)
            life.live()
            return life.document()
        finally:
            recording.down(home)


class _Life:
    """A copy of the project with the stack of the same name, on the twin."""

    def __init__(
        self,
        stack: PulumiStack,
        recording: Recording,
        folder: Path,
        environment: Mapping[str, str | None],
        say: Say,
    ) -> None:
        self.name = stack.name.rpartition("/")[2]
        self.folder = folder
        self.say = say
        self._recording = recording
        self._root = _merged(environment)
        self._target = stack.target
        self._project = stack.project.name
        self._config: dict[str, Any] = {}
        self._types: dict[str, str] = {}
        stack.project.link_into(folder)
        (folder / f"Pulumi.{self.name}.yaml").write_text("config: {}\n")
        with _entered(self._root):
            self._deployer, self._principal = recording.deployer()
            self._on_the_twin(stack)

    def live(self) -> None:
        """Runs the lifecycle, from the first `up` to the last `down`."""
        endpoints = self._config.pop("endpoints", {})
        if not endpoints:
            self.say(f"the stack has no endpoint yet: recording with one named {_SOME_ENDPOINT}; record again later")
            endpoints = {_SOME_ENDPOINT: {}}
        self._deploy("deploying without endpoints")
        first, second = self._seed("1"), self._seed("2")
        self._config["endpoints"] = {n: self._entry(e, first) for n, e in endpoints.items()}
        self._deploy("deploying endpoints")
        self._change(second)
        self._deploy("changing versions, sizes, instance types and tags")
        self.say("looking for drift")
        self._run("plan")
        self._run("up", "--refresh", "--no-build")
        self._promote(endpoints, second)
        self._run("status")
        self.say("taking it down while a job runs, and up again")
        self._start_job()
        self._run("down")
        self._run("up", "--no-build")  # its images are placeholders
        del self._config["endpoints"]
        self._deploy("taking the endpoints out")
        self.say("taking it down with its data")
        self._run("down", "--data", self.name)

    def _entry(self, entry: dict[str, Any], version: str) -> dict[str, Any]:
        seconds = self._recording.bake_seconds
        rollout = {} if seconds is None else {"rollout": {**(entry.get("rollout") or {}), "bake_seconds": seconds}}
        return {**entry, "model": version, "gate": "waived", **rollout}

    def _change(self, version: str) -> None:
        """Changes what can be changed of endpoints, and something of everything else."""
        cloud = self._config.setdefault(self._target, {})
        for name, entry in self._config["endpoints"].items():
            entry["model"] = version
            size = entry["size"] = dict(entry.get("size") or {})
            size["instances"] = int(size.get("instances", 1)) + 1
            if size.get("max_instances"):
                size["max_instances"] = max(int(size["max_instances"]), size["instances"] + 1)
            size["instance_type"] = next(t for t in self._recording.some_types if t != self._types.get(name))
        cloud["tags"] = {**cloud.get("tags", {}), "recorded": "yes"}

    def document(self) -> dict[str, Any]:
        """Returns the policy or role of the permissions used by the deployer's calls."""
        with _entered(self._root):
            own = [r for r in self._recording.recorded() if r["principal"] == self._principal]
            return self._recording.document(own)

    def _deploy(self, words: str) -> None:
        self.say(words)
        self._write()
        self._run("up", "--no-build")  # its images are placeholders

    def _write(self) -> None:
        from ruamel.yaml import YAML

        path = self.folder / f"Pulumi.{self.name}.yaml"
        document = YAML(typ="safe", pure=True).load(path)  # with what the engine wrote into it
        document["config"] = {f"{self._project}:{key}": value for key, value in self._config.items()}
        YAML(typ="safe", pure=True).dump(document, path)

    def _run(self, *words: str) -> None:
        answer = subprocess.run(
            [sys.executable, "-m", "llmops_kit.cli", *words, "--stack", self.name],
            cwd=self.folder,
            env=self._deployer,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            lines = [line for line in (answer.stdout + answer.stderr).splitlines() if line.strip()]
            raise KitError(
                f"`llmops {words[0]}` failed on the twin, so nothing was recorded:\n" + "\n".join(lines[-15:]),
                where=f"stack {self.name}",
                fix=f"fix the error above; the same happens on `llmops twin {self._target} up`",
            )

    def _seed(self, content: str) -> str:
        """Puts a model version into the twin's store, as its owner, because that is not the deployer's task."""
        with _entered(self._root), tempfile.TemporaryDirectory() as temporary:
            outputs: StackOutputs = PulumiStack(Project(self.folder), self.name).outputs()
            platform = registry.open_platform(outputs)
            self._recording.fill(outputs)
            return str(platform.store().put_model(_version(Path(temporary) / "version", content), platform.sign))

    def _promote(self, endpoints: Iterable[str], version: str) -> None:
        """Writes into the store's log what promoting would have written, also as the owner: `status` reads it."""
        with _entered(self._root):
            store = registry.open_platform(PulumiStack(Project(self.folder), self.name).outputs()).store()
            for endpoint in endpoints:
                store.append(promotion_log(endpoint), {"model": version, "gate": "waived", "by": "", "at": now()})

    def _start_job(self) -> None:
        """Starts a job, also as the owner."""
        with _entered(self._root):
            self._recording.start_job(PulumiStack(Project(self.folder), self.name).outputs())

    def _on_the_twin(self, stack: PulumiStack) -> None:
        """Creates on the twin what the stack expects in its account: the state backend, and existing resources named in
        its settings.
        """
        resolved = stack.resolve()
        self._types = {name: endpoint.machine.kind for name, endpoint in resolved.endpoints.items()}
        config = resolved.settings.model_dump(mode="json", exclude_unset=True)
        config.pop("production", None)  # the versions that are deployed there pass no gate
        config[self._target] = self._recording.given(config.get(self._target, {}))
        self._config = config | {"images": _IMAGES}
        if stack.backend.startswith("https://"):
            return  # Pulumi's own service: no matter of the cloud
        changes = self._recording.backend(self._project, stack.backend)
        for environ in (self._root, self._deployer):
            for name, value in changes.items():
                environ.pop(name, None)
                environ.update({name: value} if value is not None else {})


def _merged(changes: Mapping[str, str | None]) -> dict[str, str]:
    environ = {k: v for k, v in os.environ.items() if k not in changes}
    return environ | {k: v for k, v in changes.items() if v is not None}


@contextmanager
def _entered(environ: Mapping[str, str]) -> Iterator[None]:
    """Replaces this process's environment for the duration of the block."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _version(folder: Path, content: str) -> Path:
    """Returns a model version that no server could load; nothing is started from it."""
    folder.mkdir()
    (folder / "model.safetensors").write_text(content)
    ModelManifest.new(
        name=_SOME_ENDPOINT,
        created=now(),
        engines=["transformers"],
        dtype="BF16",
        files=file_entries(folder),
        lineage=Lineage(),
        gate=GateResult(passed=True, reasons=[]),
        golden=[Golden(messages=[Message(role="user", content="hi")], expect=[])],
    ).write(folder / "manifest.json")
    return folder
