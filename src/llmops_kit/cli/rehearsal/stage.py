"""Environment of a step: the world, commands as a user types them, and results of earlier steps."""

import json
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from llmops_kit.cli.rehearsal.leaks import Known
from llmops_kit.cli.rehearsal.steps import Command, PermissionCheck, Result, Timeline
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.cli.interfaces.platform import Platform
    from llmops_kit.cli.rehearsal.cloud import Cloud
    from llmops_kit.cli.rehearsal.world import World
    from llmops_kit.core.documents.model import ModelManifest
    from llmops_kit.core.documents.outputs import StackOutputs

_STOP_SECONDS = 120
_SECRET = {"--env", "models"}
"""Words of commands whose output is kept out of logs: it has credentials, or people's prompts, as manifests do."""
_PROMPT = "…"
"""Replaces prompts in shown commands and in logs."""
_SAID = re.compile(r"^(?:\x1b\[[0-9;]*m)*error:(?:\x1b\[[0-9;]*m)* (?P<what>.*?)(?=^  where:|^  fix:|\Z)", re.M | re.S)
_WHERE = re.compile(r"^  where: (.*)$", re.M)
_TELLS = re.compile(r"error:(?! 1 error occurred)|not authorized|^\s+\* ")
"""Matches lines that say why a command failed; the engine puts some plugins' reasons into a list of `* `."""
_FIX = re.compile(r"^  fix: (.*)$", re.M)


@dataclass
class Stage:
    """The world of a rehearsal, and the state that its steps share."""

    world: "World"
    logs: Path
    say: Callable[[str], None]
    timeline: Timeline = field(default_factory=Timeline)
    results: list[Result] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    """Values that steps pass to later ones, by name."""
    known: list[Known] = field(default_factory=list)
    """Tokens that commands printed, and prompts that were sent: no log may contain them."""
    policies: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Role -> all policies that it has had: they change with the stack."""
    current: Result | None = None

    def begin(self, result: Result) -> None:
        """Makes `result` the current step, and clears the record of permissions that earlier steps used."""
        self.current = result
        self.world.forget_accesses()

    def end(self, _result: Result) -> list[PermissionCheck]:
        """Ends a step; returns the permissions that roles used in it."""
        self.current = None
        for label, documents in self.world.policies().items():
            known = self.policies.setdefault(label, [])
            known += [document for document in documents if document not in known]
        if self.world.meter:
            with suppress(KitError):  # the step has its own error, and the next one begins with a look
                self.world.meter.look()
        return self.world.accesses()

    def llmops(self, *words: str, stack: str = "dev", who: str = "", code: int = 0, stdin: str = "") -> str:
        """Runs a verb as a user types it, in the project, under a role; returns its stdout and stderr.

        Raises:
            KitError: its exit code is not `code`; has the command's own message.
        """
        return self._llmops(words, stack, who or self.bearer(words), code, stdin)[1]

    def json(self, *words: str, stack: str = "dev", who: str = "") -> Any:
        """Returns the document that a verb prints with --json."""
        return json.loads(self._llmops((*words, "--json"), stack, who or self.bearer(words), 0)[0])

    def bearer(self, words: tuple[str, ...]) -> str:
        """Returns the role of a command for which a step names none."""
        return self.cloud.bearers.get(words[0], "deploy")

    @property
    def cloud(self) -> "Cloud":
        """The cloud as the account's owner, in this process: to check resources, and to change them by hand."""
        return self.world.cloud

    def file(self, stack: str = "dev") -> StackFile:
        """Returns a stack's file as it is now."""
        project = Project(self.world.project)
        return StackFile(project.stack_file(self.world.stack(stack)), project.name)

    def outputs(self, stack: str = "dev") -> "StackOutputs":
        """Returns the outputs of a deployed stack."""
        return PulumiStack(Project(self.world.project), self.world.stack(stack)).outputs()

    def platform(self, stack: str = "dev") -> "Platform":
        """Returns a deployed stack's platform, for this process."""
        from llmops_kit.cli.platforms.registry import open_platform

        return open_platform(self.outputs(stack))

    @property
    def file_project(self) -> str:
        """The project's name, which is the namespace of its keys."""
        return Project(self.world.project).name

    def pulumi(self, *words: str, stack: str = "dev", who: str = "", code: int = 0) -> str:
        """Runs a command of the engine, as `llmops` runs a verb; returns its stdout and stderr."""
        from llmops_kit.cli.pulumi_engine.engine import ensure

        command = [str(ensure().pulumi), *words, "--non-interactive"]
        return self._run(command, ("pulumi", *words), stack, who or "deploy", code)[1]

    def watch_and_kill(self, enough: Callable[[str], bool], *words: str, stack: str = "dev", who: str = "") -> str:
        """Starts a verb, kills it at the first line for which `enough` is true, and returns that line.

        Raises:
            KitError: it ended without such a line.
        """
        name, who = self.world.stack(stack), who or self.bearer(words)
        command = [sys.executable, "-m", "llmops_kit.cli", *words, "--stack", name]
        began, shown = time.monotonic(), shlex.join(["llmops", *words, "--stack", name])
        last = "nothing"
        with self._log(shown, who) as log:
            process = self._popen(command, who, merged=True)
            assert process.stdin
            assert process.stdout
            process.stdin.close()
            try:
                for line in process.stdout:
                    log.write(line)
                    log.flush()
                    self.say(line.rstrip())
                    if enough(line):
                        return line.strip()
                    last = line.strip() or last
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
                if self.current:
                    self.current.commands.append(Command(shown, who, time.monotonic() - began, process.returncode))
        raise KitError(f"`{shown}` ended before it could be killed, after printing: {last}", where="the step's log")

    def wait(self, ask: Callable[[], Any], what: str, seconds: float = 600) -> Any:
        """Calls `ask` until its result is true; returns that result.

        Raises:
            KitError: there is none within `seconds`; names `what`.
        """
        deadline = time.monotonic() + seconds
        while not (found := ask()):
            if time.monotonic() > deadline:
                raise KitError(f"waited {seconds:.0f} s for {what}", where="the rehearsal")
            time.sleep(0.5)
        return found

    def manifest(self, version: str, stack: str = "dev") -> "ModelManifest":
        """Returns the manifest of a version in a stack's store."""
        store = self.platform(stack).store()
        return store.manifest(store.find(version))

    def endpoint_row(self, name: str, stack: str = "dev") -> dict[str, Any]:
        """Returns an endpoint's row of `llmops status`."""
        return next(row for row in self.json("status", stack=stack)["endpoints"] if row["name"] == name)

    def read_quality(self, endpoint: str) -> None:
        """Records what an endpoint's servers logged about their golden prompts, for the plot; servers that are gone may
        have taken their logs with them.
        """
        found = self.cloud.quality(self.outputs(), endpoint)
        begun = self.timeline.begun_at
        read = {(max(0.0, each.at - begun), each.score, each.model) for each in found}
        self.timeline.quality = sorted({*self.timeline.quality, *read})

    def has_endpoint(self, stack: str) -> bool:
        """Returns whether a stack's file names any endpoint."""
        return bool(self.file(stack).promoted())

    def edit(self, change: Callable[[dict[str, Any]], object], stack: str = "dev") -> None:
        """Changes a stack's file as a person would; `change` gets its keys, without the project's name."""
        from ruamel.yaml import YAML

        path, prefix = self.file(stack).path, f"{self.file_project}:"
        document = YAML().load(path)
        config = {k.removeprefix(prefix): v for k, v in document["config"].items()}
        change(config)
        document["config"] = {f"{prefix}{k}": v for k, v in config.items()}
        YAML().dump(document, path)

    def bound(self, stack: str) -> None:
        """Sets the permissions boundary that bootstrap created, if there is one, for a stack's roles."""
        if boundary := self.notes.get("boundary"):
            self.edit(lambda config: self.cloud.bound(config[self.cloud.target], boundary), stack)

    def _llmops(self, words: tuple[str, ...], stack: str, who: str, code: int, stdin: str = "") -> tuple[str, str]:
        words = (*words, *self.world.up_options) if words[0] == "up" else words
        shown = ("llmops", *self._without_prompt(words))
        said, both = self._run([sys.executable, "-m", "llmops_kit.cli", *words], shown, stack, who, code, stdin)
        if {"--env", "--json"} <= {*words}:
            self.known.append(Known("the key of an endpoint", json.loads(said)["api_key"]))
        return said, both

    def _without_prompt(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the words of a command to show: without the text of `invoke`, its last word that is not an option."""
        if words[0] != "invoke":
            return words
        at = max(i for i, word in enumerate(words) if not word.startswith("-"))
        self.known.append(Known("a prompt", words[at], "prompt"))
        return (*words[:at], _PROMPT, *words[at + 1 :])

    def _popen(self, command: list[str], who: str, merged: bool = False) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command,
            cwd=self.world.project,
            env=self.world.environs[who],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,  # Ctrl-C is for the rehearsal, which hands it on
        )

    def _run(
        self, command: list[str], words: tuple[str, ...], stack: str, who: str, code: int, stdin: str = ""
    ) -> tuple[str, str]:
        began = time.monotonic()
        name = self.world.stack(stack)
        shown = shlex.join([*words, "--stack", name])
        with self._log(shown, who) as log:
            process = self._popen([*command, "--stack", name], who)
            assert process.stdin
            with suppress(BrokenPipeError), process.stdin:
                process.stdin.write(stdin)
            said, both = _listen(process, log, self.say, secret=not _SECRET.isdisjoint(words))
        if self.current:
            self.current.commands.append(Command(shown, who, time.monotonic() - began, process.returncode))
        if process.returncode != code:
            raise failure(shown, process.returncode, both)
        return said, both

    def _log(self, words: str, who: str) -> IO[str]:
        self.logs.mkdir(parents=True, exist_ok=True)
        log = (self.logs / f"{self.current.step.id if self.current else 'world'}.txt").open("a")
        log.write(f"[{who}] $ {words}\n")
        log.flush()
        return log


def failure(words: str, code: int, text: str) -> KitError:
    """Returns the error that a failed command printed, as an exception; without one, its last lines."""
    said = _SAID.search(text)
    if said:
        where, fix = _WHERE.search(text, said.end()), _FIX.search(text, said.end())
        ours = [line for line in text[: said.start()].splitlines() if _TELLS.search(line)]
        before = "".join(f"\n    {line.strip()}" for line in ours[-4:])
        return KitError(
            f"`{words}`: {said['what'].strip()}{before}",
            where=where[1] if where else "",
            fix=fix[1] if fix else "",
        )
    if code == 0:
        return KitError(f"`{words}` should have been rejected, but succeeded", fix="see its lines in the step's log")
    lines = [line for line in text.splitlines() if line.strip()]
    return KitError(f"`{words}` ended with code {code}:\n    " + "\n    ".join(lines[-12:]), fix="see the step's log")


def _listen(
    process: "subprocess.Popen[str]", log: IO[str], say: Callable[[str], None], *, secret: bool
) -> tuple[str, str]:
    """Returns a process's stdout and its whole output; shows both as they come, except a secret stdout. On Ctrl-C,
    interrupts the process and waits for its end.
    """
    said: list[str] = []
    both: list[str] = []

    def read(stream: IO[str], *into: list[str]) -> None:
        for line in stream:
            for lines in into:
                lines.append(line)
            if secret and stream is process.stdout:
                continue
            log.write(line)
            log.flush()
            if line.strip():
                say(line.rstrip())

    assert process.stdout
    assert process.stderr
    beside = threading.Thread(target=read, args=(process.stderr, both), daemon=True)
    beside.start()
    try:
        read(process.stdout, said, both)
        process.wait()
    except (KeyboardInterrupt, SystemExit):
        _end(process)
        raise
    finally:
        beside.join()
        process.stdout.close()
        process.stderr.close()
    return "".join(said), "".join(both)


def _end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
