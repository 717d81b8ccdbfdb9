"""Programs of a few resources under the real engine, with a stand-in plugin."""

import json
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.checkout import IMPORT_PATH
from tests.support.pulumi_projects import PulumiProject

PROJECT = "name: parts\nruntime: {name: python, options: {toolchain: pip, virtualenv: " + sys.prefix + "}}\n"


@dataclass
class Program(PulumiProject):
    """A project in `folder`: resources by a program's text, driven by `pulumi`."""

    folder: Path
    environ: dict[str, str]
    plugin: str
    """Its types' prefix: "aws", "azure-native"."""
    head: str
    """The program's first lines: imports, and a provider."""
    name: str = "one"

    def make(self, text: str = "") -> None:
        """Write the project, and make its empty stack."""
        self.folder.mkdir()
        (self.folder / "Pulumi.yaml").write_text(PROJECT)
        self.write(text)
        self.pulumi("stack", "init")

    def start_plugin_itself(self, folder: Path) -> None:
        """Let the engine start the stand-in: an executable in `folder` on PATH, in place of an attached plugin."""
        folder.mkdir()
        executable = folder / f"pulumi-resource-{self.plugin}"
        module = f"llmops_twins.plugins.{self.plugin.replace('-', '_')}"
        executable.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        executable.chmod(0o755)
        del self.environ["PULUMI_DEBUG_PROVIDERS"]
        self.environ |= {"PATH": f"{folder}:{self.environ['PATH']}", "PYTHONPATH": IMPORT_PATH}

    def write(self, text: str) -> None:
        """Replace the program."""
        (self.folder / "__main__.py").write_text(f"{self.head}\n{textwrap.dedent(text)}\n")

    def up(self, text: str = "", *, refused: bool = False) -> str:
        """`pulumi up` of a program."""
        if text:
            self.write(text)
        return self.pulumi("up", "--yes", "--skip-preview", refused=refused)

    def changes(self, text: str = "") -> dict[str, str]:
        """What `pulumi preview` would do: logical name -> operation; nothing that stays the same."""
        if text:
            self.write(text)
        return self.operations()

    def resources(self) -> dict[str, dict[str, Any]]:
        """Logical name -> what the state holds of each resource of the plugin."""
        deployment = json.loads(self.state())["deployment"]
        found = [r for r in deployment.get("resources", []) if r["type"].startswith(f"{self.plugin}:")]
        return {r["urn"].rpartition("::")[2]: r for r in found}

    def exported(self) -> dict[str, Any]:
        """The stack's outputs."""
        return json.loads(self.pulumi("stack", "output", "--json", "--show-secrets"))
