"""Somebody who can write the state plants a provider of his own: nothing of it runs."""

import base64
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.emulated.cli.pulumi_engine.test_language_host import Project

PROGRAM = "import pulumi\nfrom llmops_kit.infra.files import File\nf = File('f', {path!r}, 'one')\n"


class Planted:
    """Runs a command as soon as it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def by_value(marker: Path) -> bytes:
    """A provider as dill writes a class of the main program: its code.

    Written by a process of its own: each provider that Pulumi has written in this one wrapped the pickler once more.
    """
    code = (
        "import os, sys, dill, pulumi.dynamic\n"
        "class Planted(pulumi.dynamic.ResourceProvider):\n"
        f"    def delete(self, id, props): os.system('touch {marker}')\n"
        f"    def read(self, id, props): os.system('touch {marker}')\n"
        "sys.stdout.buffer.write(dill.dumps(Planted(), recurse=True))\n"
    )
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A deployed stack with one dynamic resource."""
    made = Project(tmp_path, PROGRAM.format(path=str(tmp_path / "file.txt")))
    made.pulumi("up", "--yes", "--skip-preview")
    return made


def plant(project: Project, provider: bytes | str) -> None:
    """Change the provider in the state."""
    text = provider if isinstance(provider, str) else base64.b64encode(provider).decode()
    state = json.loads(project.pulumi("stack", "export"))
    for resource in state["deployment"]["resources"]:
        if "pulumi-python:dynamic" in resource["type"] and "provider" not in resource["type"].split(":")[0]:
            resource["inputs"]["__provider"] = resource["outputs"]["__provider"] = text
    (project.folder / "state.json").write_text(json.dumps(state))
    project.pulumi("stack", "import", "--file", "state.json")


@pytest.mark.vulnerability(10)
def test_vulnerability_10_a_planted_provider_is_refused_and_named(project: Project) -> None:
    marker = project.folder / "owned"
    before = project.pulumi("stack", "export")
    planted = {"destroy": pickle.dumps(Planted(marker)), "refresh": by_value(marker), "up": by_value(marker)}
    for command, provider in planted.items():
        plant(project, provider)
        output = project.pulumi(command, "--yes", "--skip-preview", fails=True)
        assert "somebody changed the stack's state" in output
        assert "urn:pulumi:dev::one::pulumi-python:dynamic:Resource::f" in output
        assert "Traceback" not in output
        assert not marker.exists()
    assert (project.folder / "file.txt").exists()
    (project.folder / "state.json").write_text(before)
    project.pulumi("stack", "import", "--file", "state.json")
    project.pulumi("destroy", "--yes", "--skip-preview")
    assert not (project.folder / "file.txt").exists(), "a state that was put back is destroyed"
    project.wait_for_no_process()


@pytest.mark.vulnerability(10)
def test_vulnerability_10_modules_outside_of_the_package_are_not_even_imported(project: Project) -> None:
    marker = project.folder / "owned"
    (project.folder / "program" / "planted.py").write_text(
        f"from pathlib import Path\nfrom pulumi.dynamic import ResourceProvider\nPath({str(marker)!r}).touch()\n"
        "class Provider(ResourceProvider): ...\n"
    )
    name = b"\x8c\x07planted\x94\x8c\x08Provider\x94\x93\x94\x8c\x09test/file\x94\x85\x94R\x94."
    plant(project, pickle.dumps(0).replace(b"K\x00.", name))
    output = project.pulumi("destroy", "--yes", "--skip-preview", fails=True)
    assert "it names 'planted.Provider(test/file)', which is not a provider of the kit" in output
    assert not marker.exists()
