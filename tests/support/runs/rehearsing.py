"""A project as a user's, whose recipe trains a tiny model; and rehearsals of it as a user starts them."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.checkout import CHECKOUT
from tests.support.runs.yes_rows import DATA, EVALUATION, write_yes_rows
from tests.support.tiny_models.models import copy_model, tiny_source

RECIPE = f"""\
schema: recipe/2
name: rehearsal
base_model: {{name: tiny, source: "folder:tiny", licence: Apache-2.0}}
{DATA}
training: {{epochs: 12, batch_size: 4, learning_rate: 1.0e-2, max_tokens: 200, checkpoint_steps: 6, threads: 1}}
{EVALUATION}
serving: {{system_prompt: Short., max_tokens: 8}}
"""
_PLANTED = {
    "AWS_PROFILE": "planted",
    "AWS_ENDPOINT_URL_S3": "http://10.0.0.1",
    "AZURE_CLIENT_ID": "planted",
    "AZURE_AUTHORITY_HOST": "https://10.0.0.1",
    "ARM_CLIENT_SECRET": "planted",
    "PULUMI_STACK": "planted",
}


@dataclass
class Rehearsing:
    """Starts rehearsals in a project."""

    project: Path
    cloud: str
    verb: str = "rehearse"

    def start(self, *arguments: str, environ: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """As a user does, in a shell that has credentials of a real account."""
        return subprocess.Popen(
            [sys.executable, "-m", "llmops", self.verb, self.cloud, *arguments],
            cwd=self.project,
            env=environ or {**os.environ, **_PLANTED},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def run(self, *arguments: str, code: int = 0, environ: Mapping[str, str] | None = None) -> str:
        """Rehearse to the end; what was printed. Nothing of it is left afterwards."""
        process = self.start(*arguments, environ=environ)
        text, _ = process.communicate(timeout=3600)
        assert process.returncode == code, text
        assert "Traceback" not in text, text
        self.require_clean()
        return text

    def report(self, name: str = "rehearsal-report") -> dict[str, Any]:
        """report.json."""
        return json.loads((self.project / name / "report.json").read_text())

    def require_clean(self) -> None:
        """No folder and no process of a rehearsal is left."""
        folder = self.project / ".llmops/rehearsals"
        assert [path.name for path in folder.glob("*") if path.is_dir()] == []
        commands = []
        for process in psutil.process_iter():
            try:
                commands.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        assert [command for command in commands if str(folder) in command] == []


def rehearsing_in(project: Path, cloud: str) -> Rehearsing:
    """A project in a folder, whose recipe trains a tiny model in seconds."""
    aside = (".git", ".llmops", "recipes", "rehearsal-report", "smoke-report")
    for path in CHECKOUT.iterdir():
        if path.name not in aside and not path.name.startswith("Pulumi."):
            (project / path.name).symlink_to(path)
    text = (CHECKOUT / "Pulumi.yaml").read_text()
    (project / "Pulumi.yaml").write_text(text.replace("virtualenv: .venv", f"virtualenv: {sys.prefix}"))
    recipes = project / "recipes"
    recipes.mkdir()
    (recipes / "rehearsal.yaml").write_text(RECIPE)
    write_yes_rows(recipes)
    copy_model(tiny_source(), recipes / "tiny")
    return Rehearsing(project, cloud)
