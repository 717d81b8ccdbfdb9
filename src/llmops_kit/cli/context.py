"""The project, stack and platform that the global options select; opened when a command first uses them."""

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from llmops_kit.cli.terminal.plain_text import printable
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.cli.interfaces.platform import Platform
    from llmops_kit.cli.stacks.project import Project
    from llmops_kit.cli.stacks.stack import PulumiStack


@dataclass
class Context:
    """The folder and the stack that a command works on."""

    stack: str = ""
    cwd: Path = Path()

    @cached_property
    def project(self) -> "Project":
        from llmops_kit.cli.stacks.project import Project

        return Project.find(self.cwd)

    @cached_property
    def target(self) -> str:
        """The target in the chosen stack's file; empty if no stack is chosen, or it has no file."""
        from llmops_kit.cli.stacks.stack_file import StackFile

        try:
            name = self.project.choose_stack(self.stack)
            return StackFile(self.project.stack_file(name), self.project.name).target
        except KitError:
            if self.stack:
                raise
            return ""

    @cached_property
    def pulumi(self) -> "PulumiStack":
        """The stack, driven through the engine."""
        return self.open_stack(self.project.choose_stack(self.stack))

    @cached_property
    def platform(self) -> "Platform":
        """The deployed stack in operation."""
        return self.open_platform(self.pulumi)

    def open_stack(self, name: str) -> "PulumiStack":
        from llmops_kit.cli.stacks.stack import PulumiStack

        return PulumiStack(self.project, name)

    def open_platform(self, stack: "PulumiStack") -> "Platform":
        """Opens the platform of a deployed stack."""
        from llmops_kit.cli.platforms.registry import open_platform

        return open_platform(stack.outputs())


def say(line: str) -> None:
    """Prints progress to stderr; stdout has results only."""
    print(printable(line), file=sys.stderr, flush=True)
