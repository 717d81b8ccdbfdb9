"""The kit's images built by Docker."""

import subprocess
from pathlib import Path

import pytest

from llmops_kit.local_runtime import containers
from tests.support.checkout import CHECKOUT

pytestmark = pytest.mark.docker


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The serving image without its packages, on whatever base is here."""
    bases = [base for base in ("llmops-base", "python:3.11-slim") if _docker("images", "--quiet", base)]
    if not bases:
        pytest.skip("no base image with Python here: `tools/docker.sh base` makes one")
    monkeypatch.setenv(containers.BASE_VARIABLE, bases[0])
    (tmp_path / "requirements.txt").write_text("")
    (tmp_path / "main.py").write_text("import sys\nprint('serving', *sys.argv[1:])\n")
    return {
        "requirements.txt": tmp_path / "requirements.txt",
        "app/llmops_kit/core/__init__.py": CHECKOUT / "hosting/llmops_kit/core/__init__.py",
        "app/llmops_kit/serving/__init__.py": CHECKOUT / "serving/llmops_kit/serving/__init__.py",
        "app/llmops_kit/serving/__main__.py": tmp_path / "main.py",
        "app/llmops_kit/serving/Dockerfile": CHECKOUT / "serving/llmops_kit/serving/Dockerfile",
    }


def test_an_image_is_built_once_and_runs_the_package(files: dict[str, Path]) -> None:
    said: list[str] = []
    source = "0123456789abcdef0123" + "4" * 44
    tag = f"llmops-serving:{containers.version_of(source)}"
    _docker("rmi", "--force", tag)
    reference = containers.build("serving", files, source, said.append)
    assert reference.startswith("docker:serving@sha256:")
    assert said
    assert containers.exists(reference)
    said.clear()
    assert containers.build("serving", files, source, said.append) == reference
    assert said == []
    image = reference.partition("@")[2]
    assert _docker("run", "--rm", "--network=none", image) == "serving serve"
    _docker("rmi", "--force", tag)
    assert not containers.exists(reference)


def _docker(*arguments: str) -> str:
    try:
        return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""
