"""A stack in a folder of its own, driven as a user drives it: by `pulumi`, the real engine."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from llmops_kit.cli.pulumi_engine.engine import ensure
from llmops_kit.cli.stacks.backend import folder_url
from tests.support.checkout import CHECKOUT
from tests.support.pulumi_projects import PulumiProject

PROGRAM = "from llmops_kit.infra.__main__ import main\n\nmain()\n"


def pulumi_environ(folder: Path) -> dict[str, str]:
    """This process's environment with the engine, and with a home and a state in `folder`."""
    (folder / "state").mkdir(exist_ok=True)
    return dict(os.environ) | ensure().env | {
        "PULUMI_BACKEND_URL": folder_url(folder / "state"),
        "PULUMI_HOME": str(folder / "pulumi"),
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_SKIP_UPDATE_CHECK": "1",
        "VIRTUAL_ENV": sys.prefix,
    }  # fmt: skip


@dataclass
class Stack(PulumiProject):
    """A stack of a project in `folder`."""

    folder: Path
    name: str
    environ: dict[str, str]
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def make(self) -> None:
        """Write the project, and make the stack in its backend."""
        self.folder.mkdir(exist_ok=True)
        text = (CHECKOUT / "Pulumi.yaml").read_text().replace("virtualenv: .venv", f"virtualenv: {sys.prefix}")
        (self.folder / "Pulumi.yaml").write_text(text.replace("main: infra\n", ""))
        (self.folder / "__main__.py").write_text(PROGRAM)
        self.configure()
        self.pulumi("stack", "init")

    def configure(self) -> None:
        """Write the stack's file."""
        config = {f"llmops:{key}": value for key, value in {**self.settings, "endpoints": self.entries}.items()}
        YAML().dump({"config": config}, self.folder / f"Pulumi.{self.name}.yaml")

    def serve(self, name: str, model: str, **fields: Any) -> None:
        """Write an entry. The tiny model was never evaluated, so its gate is waived."""
        self.entries[name] = {"model": model, "gate": "waived", **fields}

    def up(self, *, refused: bool = False) -> str:
        """`pulumi up` of the entries."""
        self.configure()
        return self.pulumi("up", "--yes", "--skip-preview", refused=refused)

    def changes(self, *arguments: str) -> dict[str, str]:
        """What `pulumi preview` of the entries would do: logical name -> operation; nothing that stays the same."""
        self.configure()
        return self.operations(*arguments)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs."""
        return json.loads(self.pulumi("stack", "output", "--json"))

    def llmops(self, *arguments: str, code: int = 0) -> str:
        """Run the kit's command line in the stack's project, where nobody can answer a question; what it printed.

        What it wrote to stderr is part of that where it fails.
        """
        done = subprocess.run(
            [sys.executable, "-m", "llmops_kit.cli", *arguments],
            cwd=self.folder,
            env={**self.environ, "PULUMI_STACK": self.name},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + (done.stderr if code else "")
