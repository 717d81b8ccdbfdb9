"""Runs the twins' command as a program: the kit doesn't import the twins."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import KEY_VARIABLES

_ERROR = "error: "


class TwinCommand:
    """One twin, by `twins aws …` or `twins azure …`. Methods raise KitError with the command's own message.

    Args:
        target: the cloud, such as "aws".
        home: the twin's folder.
    """

    def __init__(self, target: str, home: Path) -> None:
        self._target = target
        self._home = home

    def up(self, say: Callable[[str], None] = lambda _: None, **options: str | float) -> None:
        """Starts the twin, which checks permissions; `say` is called with each step."""
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._run("up", *words, "--judge", "strict", say=say)
        self.__dict__.pop("environment", None)

    def down(self) -> None:
        """Stops the twin's processes."""
        self._run("down")

    @cached_property
    def environment(self) -> dict[str, str | None]:
        """The variables by which a program acts as the twin's owner; None means to unset one."""
        return self._run("env")

    @property
    def key(self) -> str:
        """The key of the twin's administrative routes (/_twin/…)."""
        return self.environment[KEY_VARIABLES[self._target]] or ""

    def _run(self, verb: str, *words: str, say: Callable[[str], None] = lambda _: None) -> Any:
        command = [sys.executable, "-P", "-m", "llmops_twins", self._target, verb, "--home", str(self._home), *words]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [*command, "--json"], stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        ) as process:
            assert process.stdout
            assert process.stderr
            told: list[str] = []
            for line in process.stderr:
                if told or line.startswith(_ERROR):
                    told.append(line)
                else:
                    say(line.rstrip("\n"))
            answer = process.stdout.read()  # a page at most: the pipe holds it
        if process.returncode:
            text = "".join(told).removeprefix(_ERROR).rstrip()
            raise KitError(text or f"`twins {self._target} {verb}` ended with {process.returncode}")
        return json.loads(answer)
