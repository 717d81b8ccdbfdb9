"""The workflows of docs/how-to/github, as a runner reads them."""

import base64
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.support.checkout import CHECKOUT

WORKFLOWS = CHECKOUT / "docs/how-to/github"
_SIGN_IN = ("aws-actions/configure-aws-credentials@", "azure/login@")


@dataclass(frozen=True)
class Job:
    """A job of a workflow."""

    name: str
    document: dict[str, Any]

    @property
    def steps(self) -> list[dict[str, Any]]:
        return self.document["steps"]

    @property
    def sign_in(self) -> int | None:
        """The position of the step that signs in to a cloud; None: the job has none."""
        found = [i for i, step in enumerate(self.steps) if step.get("uses", "").startswith(_SIGN_IN)]
        assert len(found) <= 1
        return found[0] if found else None

    @property
    def identity(self) -> str:
        """preview, deploy or promote: as whom it signs in; empty: it does not."""
        if self.sign_in is None:
            return ""
        given = self.steps[self.sign_in]["with"]
        taken = given.get("role-to-assume") or given["client-id"]
        return taken.removeprefix("${{ vars.LLMOPS_").partition("_")[0].lower()

    def run(self, folder: Path, environ: Mapping[str, str], code: int = 0) -> str:
        """Runs the job's commands but its set-up in a folder, each step as GitHub's bash does; what they printed.

        Args:
            folder: the checkout.
            environ: of every step; its PATH finds bash and the commands.
            code: the exit code that is expected.
        """
        printed = ""
        for step in self.steps:
            script = step.get("run", "")
            if not script or script.startswith("make "):
                continue
            done = subprocess.run(
                ["bash", "-e", "-c", script],
                cwd=folder,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            printed += done.stdout
            if done.returncode:
                assert done.returncode == code, printed
                return printed
        assert code == 0, printed
        return printed


@dataclass(frozen=True)
class WorkflowFile:
    """A file of docs/how-to/github."""

    path: Path
    document: dict[str, Any]

    @property
    def jobs(self) -> list[Job]:
        return [Job(name, job) for name, job in self.document["jobs"].items()]

    def job(self, name: str) -> Job:
        return Job(name, self.document["jobs"][name])


def load(name: str) -> WorkflowFile:
    """A workflow by its path below docs/how-to/github."""
    path = WORKFLOWS / name
    return WorkflowFile(path, YAML(typ="safe", pure=True).load(path))


def names() -> list[str]:
    return sorted(str(path.relative_to(WORKFLOWS)) for path in WORKFLOWS.rglob("*.yml"))


def outputs(file: Path) -> dict[str, str]:
    """What steps wrote to $GITHUB_OUTPUT; the file is emptied for the next job."""
    lines = file.read_text().splitlines()
    file.write_text("")
    return dict(line.split("=", 1) for line in lines)


def commit(folder: Path, *files: str) -> None:
    """Make a folder a repository with these files, as a checkout is."""
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    for arguments in (["init", "--quiet"], ["add", *files], [*identity, "commit", "--quiet", "-m", "first"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def tokens_on_disk(token: str, *folders: Path) -> Iterator[Path]:
    """Files below folders that contain a token, as it is or in base64 of `x-access-token:TOKEN`."""
    forms = [token.encode(), base64.b64encode(f"x-access-token:{token}".encode())]
    for folder in folders:
        for parent, _, files in os.walk(folder):
            for name in files:
                path = Path(parent, name)
                if any(form in path.read_bytes() for form in forms):
                    yield path
