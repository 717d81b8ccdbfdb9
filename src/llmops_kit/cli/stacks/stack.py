"""Drive the Pulumi engine as a program: outputs, up, destroy. Imports no `pulumi*`."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops_kit.cli.pulumi_engine.provider_guard import TARGET_VARIABLE
from llmops_kit.cli.stacks.backend import (
    BACKEND_VARIABLE,
    STATE,
    base_environ,
    folder_of,
    has_own_state,
    is_twin_state,
    use_folder,
)
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.clouds.targets import TARGETS, unknown_target
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.errors import KitError, SettingError

if TYPE_CHECKING:
    from llmops_kit.cli.pulumi_engine.engine import EngineInstall
    from llmops_kit.settings.resolved import ResolvedStack

_CONFIG_FILE = "PULUMI_OPTION_CONFIG_FILE"  # the engine's --config-file
_ENCRYPTION = ("secretsprovider", "encryptedkey", "encryptionsalt")
_BRIEF = {"GOGC": "off", "GOMEMLIMIT": "512MiB"}
"""For commands that start neither program nor provider, which would inherit it: no garbage collection below this much
memory (https://go.dev/doc/gc-guide#Memory_limit). It took a quarter of such a command's processor time.
"""


class PulumiStack:
    """One stack of a project, through the engine."""

    def __init__(self, project: Project, name: str) -> None:
        self.project = project
        self.name = name
        self.file = StackFile(project.stack_file(name), project.name)
        self.target = self.file.target or "local"
        if self.target not in TARGETS:
            what, fix = unknown_target(self.target)
            raise SettingError(what, where=f"{self.file.path}: {project.name}:target", fix=fix)
        self._is_here = not TARGETS[self.target].is_cloud

    def environ(self) -> dict[str, str]:
        """Returns the environment that the engine is started with: this process's, a backend for local stacks, and for
        a twin's state the stack file's copy.
        """
        environ = base_environ(self.project.folder, self._is_here) | self._engine.env
        if is_twin_state(environ.get(BACKEND_VARIABLE, "")):
            environ[_CONFIG_FILE] = str(self._copy_for_twin(folder_of(environ[BACKEND_VARIABLE]).parent))
        return environ

    def _copy_for_twin(self, home: Path) -> Path:
        """Writes the stack file's copy into the twin's home, with the twin's encryption keys instead of the cloud's."""
        from ruamel.yaml import YAML

        yaml, copy = YAML(typ="safe", pure=True), home / "stacks" / self.project.name / self.file.path.name
        before = yaml.load(copy) if copy.is_file() else {}
        asked = yaml.load(self.file.path) or {} if self.file.path.is_file() else {}
        content = {k: v for k, v in asked.items() if k not in _ENCRYPTION}
        content |= {k: v for k, v in before.items() if k in _ENCRYPTION}
        if content != before:
            copy.parent.mkdir(parents=True, exist_ok=True)
            temporary = copy.with_name(f".{copy.name}.{os.getpid()}")
            with temporary.open("w") as f:
                yaml.dump(content, f)
            temporary.replace(copy)
        return copy

    def resolve(self) -> "ResolvedStack":
        """Returns the resolved settings of a stack in a cloud.

        Raises:
            SettingError: a wrong setting; names each key and its line.
        """
        from llmops_kit.settings.resolved import resolve_stack

        return resolve_stack(self.file.settings(), self.file.origin, self.name.rpartition("/")[2])

    @cached_property
    def _engine(self) -> "EngineInstall":
        """The engine; installed on first use if it is missing."""
        from llmops_kit.cli.pulumi_engine.engine import ensure

        return ensure()

    @property
    def has_own_engine(self) -> bool:
        """Whether the kit installed the engine; False for one on the user's PATH."""
        return self._engine.own

    @property
    def state_folder(self) -> Path | None:
        """The folder of the stack's state; None if its backend is not a folder of this machine."""
        url = base_environ(self.project.folder, self._is_here).get(BACKEND_VARIABLE, "")
        return folder_of(url) if url.startswith("file://") else None

    @cached_property
    def backend(self) -> str:
        """The URL of the stack's backend, as the engine reports it: the variable takes precedence, and the URL of a
        backend in files or objects is returned unchanged (`originalURL` in pulumi/pkg/v3/backend/diy).
        """
        named = self.environ().get(BACKEND_VARIABLE, "")
        if named and not named.startswith(("http://", "https://")):
            return named
        return json.loads(self._capture("whoami", "--json", stack=False).stdout).get("url", "")

    def exists(self) -> bool:
        """Returns whether the backend has a state of the stack, deployed or empty."""
        return self.find_state() is not None

    def is_deployed(self) -> bool:
        """Returns whether the stack has resources."""
        return bool((self.find_state() or {}).get("resources"))

    def outputs(self) -> StackOutputs:
        """Returns the outputs of the stack's last deployment: store, keys, images and endpoints.

        Raises:
            KitError: it was never deployed, or its program exports other outputs.
        """
        fix = f"`llmops up --stack {self.name}` deploys it"
        answer = self._capture("stack", "output", "--json", check=False)
        if _is_unknown(answer):
            raise KitError(f"stack {self.name} does not exist yet", where=str(self.file.path), fix=fix)
        if answer.returncode:
            raise self._failed("stack output", answer)
        data = json.loads(answer.stdout)
        if not data:
            raise KitError(f"stack {self.name} is not deployed: it has no outputs", where=str(self.file.path), fix=fix)
        # A user's program may export more.
        fields = {f.alias or name for name, f in StackOutputs.model_fields.items()}
        known = {name: value for name, value in data.items() if name in fields}
        return StackOutputs.parse(json.dumps(known), where=f"outputs of stack {self.name}")

    def create(self, secrets_provider: str = "") -> None:
        """Creates the stack in its backend if it does not exist, and selects it for plain pulumi commands."""
        provider = ["--secrets-provider", secrets_provider] if secrets_provider else []
        if on_twin := self.environ().get(_CONFIG_FILE):
            # Creating a stack writes beside Pulumi.yaml and ignores --config-file, so it runs beside the copy.
            folder = Path(on_twin).parent
            (folder / "Pulumi.yaml").write_bytes((self.project.folder / "Pulumi.yaml").read_bytes())
            self._capture("stack", "select", "--create", self.name, "--cwd", str(folder), stack=False)
            provider = []
        self._capture("stack", "select", *([] if on_twin else ["--create"]), self.name, *provider, stack=False)

    @contextmanager
    def for_preview(self, images: Mapping[str, str] | None = None) -> "Iterator[PulumiStack]":
        """Yields the stack; if its backend does not have it, a temporary one of the same name for the `with` block.

        The temporary one has its state and a copy of the file in a temporary folder, so that a preview of a new stack
        creates nothing.

        Args:
            images: references that the file's `images` gets in a copy, which the engine then reads.
        """
        exists = self.exists()
        if exists and not images:
            yield self
            return
        with tempfile.TemporaryDirectory(prefix="llmops-plan-") as temporary:
            kind = _StackWithImages if exists else _TemporaryStack
            yield kind(self, Path(temporary), images or {})

    def siblings(self) -> list[str]:
        """Returns all stacks of the backend, those of other projects as `organization/<project>/<stack>`."""
        answer = self._capture("stack", "ls", "--all", "--json", stack=False)
        return [str(entry["name"]) for entry in json.loads(answer.stdout)]

    def find_state(self) -> dict[str, Any] | None:
        """Return the stack's state as `export` does, or None if the stack is not in its backend."""
        if self._is_here and has_own_state() and not (self.project.folder / STATE).is_dir():
            return None  # the engine would create the folder
        answer = self._capture("stack", "export", check=False)
        return None if _is_unknown(answer) else self._state_in(answer)

    def export(self, sibling: str = "") -> dict[str, Any]:
        """Returns the stack's state: `resources`, `pending_operations`, `secrets_providers`; empty for a new stack.

        `sibling`: another stack of the backend, whose state is returned instead.
        """
        other = ["--stack", sibling] if sibling else []
        return self._state_in(self._capture("stack", "export", *other, stack=not sibling, check=False))

    def _state_in(self, answer: subprocess.CompletedProcess[str]) -> dict[str, Any]:
        if answer.returncode:
            raise self._failed("stack export", answer)
        return json.loads(answer.stdout).get("deployment") or {}

    def preview(self, *arguments: str) -> dict[str, Any]:
        """Return the output of `pulumi preview --json`.

        Raises:
            KitError: the program or a provider failed; with its message.
        """
        answer = self._capture("preview", "--json", "--show-sames", *arguments, check=False, brief=False)
        start = answer.stdout.find("{")
        data = json.loads(answer.stdout[start:]) if start >= 0 else {}
        if answer.returncode:
            raise KitError(
                f"`pulumi preview` failed: {_first_error(data) or answer.stderr.strip()}",
                where=f"stack {self.name}",
                fix="fix that and rerun",
            )
        return data

    def pending(self) -> list[str]:
        """Returns the URNs of operations that an interrupted update began; none if the stack does not exist."""
        operations = (self.find_state() or {}).get("pending_operations") or []
        return [str(o["resource"]["urn"]) for o in operations]

    def run(self, *arguments: str, stack: bool = True) -> None:
        """Runs a command of the engine, passing its output through, and waits for its end.

        The first Ctrl-C asks the engine to stop gracefully, the second to cancel at once. In both cases it is waited
        for, so that the state is written.

        Args:
            arguments: of the engine.
            stack: whether the command is about this stack.

        Raises:
            KitError: it failed.
            KeyboardInterrupt: it was interrupted, and has ended.
        """
        named = ["--stack", self.name] if stack else []
        process = subprocess.Popen(
            [self._engine.pulumi, *arguments, "--non-interactive", *named],
            cwd=self.project.folder,
            env=self.environ() | {TARGET_VARIABLE: self.file.target},
            stdin=subprocess.DEVNULL,
            process_group=0,  # a terminal's Ctrl-C would reach the engine's plugins too
        )
        with _forward_signals(process) as interrupted:
            status = process.wait()
        if interrupted:
            raise KeyboardInterrupt
        if status:
            raise KitError(
                f"`pulumi {arguments[0]}` failed (its words are above)",
                where=f"stack {self.name}",
                fix="fix the error above and rerun; it resumes",
            )

    def _capture(
        self, *arguments: str, stack: bool = True, check: bool = True, brief: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Returns the captured output of a command of the engine; `brief`: it starts neither program nor provider."""
        command = [self._engine.pulumi, *arguments, "--non-interactive", *(["--stack", self.name] if stack else [])]
        answer = subprocess.run(
            command,
            cwd=self.project.folder,
            env=(_BRIEF if brief else {}) | self.environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and answer.returncode:
            raise self._failed(" ".join(arguments), answer)
        return answer

    def _failed(self, command: str, answer: subprocess.CompletedProcess[str]) -> KitError:
        if "gocloud.dev/blob/azureblob.(*writer)" in answer.stderr:  # the engine panics where Azure refuses a write
            return KitError(
                "the stack's state can't be written: the engine crashed while it wrote a blob",
                where=os.environ.get("PULUMI_BACKEND_URL", f"stack {self.name}"),
                fix="see that the container exists (`llmops bootstrap azure` makes one), and that these credentials"
                " have the role Storage Blob Data Contributor on its storage account",
            )
        words = [line for line in answer.stderr.splitlines() if line.strip()]
        text = " / ".join(words[-4:]) or f"exit code {answer.returncode}"
        return KitError(
            f"`pulumi {command}` failed: {text}",
            where=f"stack {self.name}",
            fix=f"`pulumi {command} --stack {self.name}` shows the same; `llmops doctor` checks this machine",
        )


class _StackWithImages(PulumiStack):
    """A stack of the backend for a preview: the engine reads a copy of its file that names other images."""

    def __init__(self, stack: PulumiStack, folder: Path, images: Mapping[str, str]) -> None:
        from ruamel.yaml import YAML

        super().__init__(stack.project, stack.name)
        yaml, source = YAML(typ="safe", pure=True), Path(super().environ().get(_CONFIG_FILE, self.file.path))
        self._copy = folder / self.file.path.name
        with self._copy.open("w") as f:
            yaml.dump(_with_images(yaml.load(source), self.project.name, images), f)

    def environ(self) -> dict[str, str]:
        return super().environ() | {_CONFIG_FILE: str(self._copy)}


class _TemporaryStack(PulumiStack):
    """An empty stack with the name, file and program of another one, and its state in a folder."""

    def __init__(self, stack: PulumiStack, folder: Path, images: Mapping[str, str]) -> None:
        super().__init__(stack.project, stack.name.rpartition("/")[2])
        self._folder = folder
        (folder / "state").mkdir()
        (folder / "Pulumi.yaml").write_bytes((self.project.folder / "Pulumi.yaml").read_bytes())
        provider = self._copy_file(images)
        self._capture("stack", "init", self.name, "--no-select", *provider, "--cwd", str(folder), stack=False)

    def environ(self) -> dict[str, str]:
        environ = dict(os.environ, PULUMI_SKIP_UPDATE_CHECK="1") | self._engine.env
        use_folder(environ, self._folder / "state")
        return environ | {_CONFIG_FILE: str(self._folder / self.file.path.name)}

    def _copy_file(self, images: Mapping[str, str]) -> list[str]:
        """Copies the stack file; returns the options that select its secrets provider.

        Without secrets in the file, the temporary stack takes a passphrase, and no key of the account is used.
        """
        from ruamel.yaml import YAML

        yaml = YAML(typ="safe", pure=True)
        content = yaml.load(self.file.path) or {}
        encrypted = not {"encryptedkey", "encryptionsalt"}.isdisjoint(content)
        if not encrypted or is_twin_state(os.environ.get(BACKEND_VARIABLE, "")):
            content = {k: v for k, v in content.items() if k not in _ENCRYPTION}
        with (self._folder / self.file.path.name).open("w") as f:
            yaml.dump(_with_images(content, self.project.name, images), f)
        provider = content.get("secretsprovider")
        return ["--secrets-provider", str(provider)] if provider else []


def _with_images(content: dict[str, Any], project: str, images: Mapping[str, str]) -> dict[str, Any]:
    """Returns the content of a stack file with these references in the project's `images`."""
    config, key = content.get("config") or {}, f"{project}:images"
    return content | {"config": config | {key: {**(config.get(key) or {}), **images}}} if images else content


def _is_unknown(answer: subprocess.CompletedProcess[str]) -> bool:
    """Return whether the engine failed because the backend does not have the stack."""
    return answer.returncode != 0 and "no stack named" in answer.stderr


def _first_error(preview: Mapping[str, Any]) -> str:
    errors = [d["message"].strip() for d in preview.get("diagnostics") or [] if d.get("severity") == "error"]
    return errors[0].removeprefix("error: ") if errors else ""


@contextmanager
def _forward_signals(process: "subprocess.Popen[Any]") -> Iterator[list[int]]:
    """Forwards SIGINT and SIGTERM to a process as SIGINT; yields the list of signals received so far."""
    seen: list[int] = []

    def forward(number: int, _: object) -> None:
        seen.append(number)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)

    before: Mapping[int, Callable[..., Any] | int | None] = {
        number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
