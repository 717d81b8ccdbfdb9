"""The twins' wheels in an empty environment, without the kit: the examples pass with the clouds' own SDKs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from llmops_kit.local_runtime.environments import find_uv

CHECKOUT = Path(__file__).resolve().parents[3]
_KEPT = ("HOME", "LANG", "LLMOPS_CACHE", "XDG_CACHE_HOME")


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Variables of a shell whose environment holds the wheels, pytest and azure-ai-ml."""
    folder, uv = tmp_path_factory.mktemp("wheels"), find_uv()
    for project in ("hosting", "twins"):
        _run([uv, "build", "-q", "--wheel", "--out-dir", folder, CHECKOUT / project], folder)
    _run([uv, "venv", "-q", "--python", sys.executable, folder / "venv"], folder)
    hosting, twins = sorted(folder.glob("*.whl"))
    wanted = [hosting, f"llmops-twins[aws,azure] @ {twins.as_uri()}", "pytest", "azure-identity", "azure-ai-ml==1.35.2"]
    python = folder / "venv/bin/python"
    date = (CHECKOUT / "requirements/newest.date").read_text().strip()  # a newer package turns nothing red by itself
    _run([uv, "pip", "install", "-q", "--python", python, "--exclude-newer", date, *wanted], folder)
    kept = {n: v for n, v in os.environ.items() if n in _KEPT or "CERT" in n or n.startswith(("UV_", "PIP_"))}
    return kept | {"PATH": f"{python.parent}:/usr/bin:/bin"}


def test_nothing_of_the_kit_is_there(environ: Mapping[str, str], tmp_path: Path) -> None:
    rooms = ["clouds", "infra", "llmops", "policies", "serving", "training", "pulumi"]
    code = f"import importlib.util as u, json; print(json.dumps([n for n in {rooms} if u.find_spec(n)]))"
    assert json.loads(_run(["python", "-c", code], tmp_path, environ)) == []


def test_the_examples_pass(environ: Mapping[str, str], tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "twins/examples", tmp_path / "examples")
    said = _run(["pytest", "-q", "-p", "no:cacheprovider"], tmp_path / "examples", environ)
    assert "5 passed" in said


def test_a_fault_of_the_command_line_strikes(environ: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import boto3\n"
        "def test_it(aws_twin):\n"
        "    boto3.client('s3').create_bucket(Bucket='retried')\n"
        "    assert aws_twin.control.faults(aws_twin.home) == {'throttle': []}\n"
    )
    _run(["pytest", "-q", "--twin-faults", "throttle service=s3 operation=CreateBucket"], tmp_path, environ)


def _run(command: list[str | Path], cwd: Path, environ: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout
