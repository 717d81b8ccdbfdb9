"""The Pulumi project's folder, and its selected stack."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from llmops_kit.cli.stacks.backend import STATE, base_environ
from llmops_kit.core.errors import KitError, NotFoundError
from llmops_kit.core.integrity.stack_homes import PROJECT_FILE, project_around

STACK_VARIABLE = "PULUMI_STACK"


@dataclass(frozen=True)
class Project:
    """A folder with a Pulumi.yaml."""

    folder: Path

    @classmethod
    def find(cls, start: Path) -> "Project":
        """Returns the project of the nearest folder with a Pulumi.yaml, upwards from `start`, as Pulumi itself does.

        Raises:
            KitError: no folder has one.
        """
        start = start.resolve()
        folder = project_around(start)
        if (folder / PROJECT_FILE).is_file():
            return cls(folder)
        raise NotFoundError(
            "no Pulumi.yaml here or in a folder above",
            where=str(start),
            fix="change into the project's folder, or give it with --cwd; to begin, `llmops init`",
        )

    @cached_property
    def name(self) -> str:
        """The project's name, which is the namespace of its configuration keys."""
        from ruamel.yaml.error import MarkedYAMLError

        try:
            return str(self._document["name"])
        except (MarkedYAMLError, KeyError, TypeError):
            where = str(self.folder / PROJECT_FILE)
            raise KitError("has no `name`", where=where, fix="write `name: llmops` into it") from None

    @cached_property
    def _document(self) -> Any:
        from ruamel.yaml import YAML

        return YAML(typ="safe", pure=True).load(self.folder / PROJECT_FILE)

    @property
    def program_project(self) -> Path:
        """The project's folder as its program sees it, without links (`llmops_kit.infra.settings.project_folder`): in a
        folder of links, such as a rehearsal's, the one that they lead to.
        """
        program = (self.folder / str(self._document.get("main") or "")).resolve()
        return project_around(program.parent if program.is_file() else program)

    def require_program(self) -> None:
        """Checks that Pulumi finds a program: `main` of Pulumi.yaml, a Python file or a folder with a `__main__.py`.

        Raises:
            NotFoundError: there is none.
        """
        main = self._document.get("main")
        program = self.folder / str(main or "")
        if program.is_file() or (program / "__main__.py").is_file():
            return
        fix = "write a program of two lines into it: `from llmops_kit.infra.__main__ import main` and `main()`"
        raise NotFoundError(
            "the project has no program, which says what `up` deploys",
            where=str(program if program.suffix == ".py" else program / "__main__.py"),
            fix=f"{fix}; or correct `main: {main}` in {self.folder / PROJECT_FILE}" if main else fix,
        )

    def stack_file(self, stack: str) -> Path:
        """Returns the path of Pulumi.<stack>.yaml; an organisation before the stack's name is ignored."""
        return self.folder / f"Pulumi.{stack.rpartition('/')[2]}.yaml"

    def stacks(self) -> list[str]:
        names = (p.name.removeprefix("Pulumi.").removesuffix(".yaml") for p in self.folder.glob("Pulumi.*.yaml"))
        return sorted(n for n in names if n)

    def link_into(self, folder: Path) -> None:
        """Creates a folder with links to the project's files but state and stack files, and a copy of Pulumi.yaml."""
        folder.mkdir(parents=True)
        for path in self.folder.iterdir():
            if path.name not in (".llmops", ".git", PROJECT_FILE) and path not in map(self.stack_file, self.stacks()):
                (folder / path.name).symlink_to(path)
        shutil.copyfile(self.folder / PROJECT_FILE, folder / PROJECT_FILE)

    def choose_stack(self, asked: str) -> str:
        """Return the stack to use: the named one, $PULUMI_STACK, the only one with a file, or the selected one.

        Raises:
            KitError: none of these names one.
        """
        there = self.stacks()
        if chosen := asked or os.environ.get(STACK_VARIABLE, ""):
            return chosen
        if len(there) == 1:
            return there[0]
        if selected := self._selected():
            return selected
        known = ", ".join(there)
        raise KitError(
            f"which stack? There are {known}" if there else "there is no stack file",
            where=str(self.folder),
            fix=f"add `--stack {there[0]}`, set ${STACK_VARIABLE}, or `pulumi stack select {there[0]}`"
            if there
            else "write one, such as Pulumi.dev.yaml with `config: {llmops:target: local}`",
        )

    def _selected(self) -> str:
        """Returns the stack that `pulumi stack select` chose; empty if there is none, or no engine is installed."""
        from llmops_kit.cli.pulumi_engine.engine import find

        engine = find()
        if engine is None:
            return ""
        answer = subprocess.run(
            [engine.pulumi, "stack", "--show-name", "--non-interactive", "--cwd", str(self.folder)],
            # The kit's own backend only if it exists: this question must not create it, nor hide a login.
            env=base_environ(self.folder, local=(self.folder / STATE).is_dir()) | engine.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return answer.stdout.strip() if answer.returncode == 0 else ""
