"""The built wheels in an empty environment, without the twins: a user's folder previews, trains and goes away again."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.runs.yes_rows import DATA, EVALUATION, write_yes_rows
from tests.support.tiny_models.models import tiny_model

UV = Path(sys.executable).with_name("uv")
PROGRAM = """\
from infra.__main__ import main

main()
"""
RECIPE = f"""\
schema: recipe/2
name: my-bot
base_model: {{name: tiny, source: "folder:BASE", licence: Apache-2.0}}
{DATA}
training: {{epochs: 8, batch_size: 4, learning_rate: 1.0e-2, max_tokens: 512, precision: f32, threads: 1}}
{EVALUATION}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kit's wheel, beside that of hosting/ and contract/."""
    folder = tmp_path_factory.mktemp("wheel")
    for project in (CHECKOUT, CHECKOUT / "hosting"):
        _run([UV, "build", "-q", "--wheel", "--out-dir", folder / "dist", project], folder)
    return next((folder / "dist").glob("llmops_kit-*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path) -> Mapping[str, str]:
    """The variables of a shell whose environment holds the wheel and its dependencies, nothing of the checkout."""
    folder, uv = wheel.parents[1], UV
    wheels = sorted(wheel.parent.glob("*.whl"))
    _run([uv, "venv", "-q", "--python", sys.executable, folder / "venv"], folder)
    python = folder / "venv" / "bin" / "python"
    _run([uv, "pip", "install", "-q", "--python", python, "-c", CHECKOUT / "requirements/kit.txt", *wheels], folder)
    names = ("HOME", "LANG", "LLMOPS_CACHE", "XDG_CACHE_HOME")
    kept = {n: v for n, v in os.environ.items() if n in names or "CERT" in n or n.startswith(("UV_", "PIP_"))}
    return kept | {"PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin", "VIRTUAL_ENV": str(python.parents[1])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pulumi.yaml, a stack file, the program and a recipe."""
    (tmp_path / "Pulumi.yaml").write_text("name: my-bot\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  my-bot:target: local\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("BASE", str(tiny_model())))
    write_yes_rows(tmp_path)
    return tmp_path


@pytest.mark.scorecard("sbom")
def test_the_wheel_carries_its_sbom(wheel: Path) -> None:
    """Where PEP 770 has it."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if ".dist-info/sboms/" in n]
        document = json.loads(archive.read(name))
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "llmops-kit"


def test_the_twins_are_offered(tmp_path: Path, environment: Mapping[str, str]) -> None:
    assert "'llmops-kit[twins]'" in _run(["llmops", "twin", "--help"], tmp_path, environment)


def test_a_folder_of_ones_own_previews_and_trains(folder: Path, environment: Mapping[str, str]) -> None:
    def llmops(*arguments: str) -> str:
        return _run(["llmops", "--stack", "dev", *arguments], folder, environment)

    llmops("up")
    llmops("train", "recipe.yaml")
    models = json.loads(llmops("models", "list", "--json"))
    assert {m["model"] for m in models} == {"tiny@1", "my-bot@1"}
    backend = {"PULUMI_BACKEND_URL": f"file://{folder}/.llmops/state", "PULUMI_CONFIG_PASSPHRASE": ""}
    engine = _run(["python", "-m", "llmops.pulumi_engine"], folder, environment).strip()
    environ = {**environment, **backend, "PATH": f"{engine}:{environment['PATH']}"}
    preview = _run(["pulumi", "preview", "--stack", "dev", "--non-interactive"], folder, environ)
    assert "unchanged" in preview
    llmops("down", "--data", "dev")
    assert not (folder / ".llmops" / "dev" / "store").exists()


def _run(command: list[str | Path], cwd: Path, environ: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout
