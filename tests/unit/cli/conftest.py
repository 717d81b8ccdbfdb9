"""A deployed stack of target local without an engine: a real store, a real key, and images that are a few lines."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.documents.store import StoreDocument
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.integrity.signing import make_key
from tests.support.tiny_models.versions import write_version

MakeVersion = Callable[..., Path]


@pytest.fixture
def platform(tmp_path: Path) -> LocalPlatform:
    return make_platform(tmp_path / "home", "dev")


def make_platform(home: Path, stack: str, image: str = "") -> LocalPlatform:
    """What `pulumi up` leaves of a stack without endpoints."""
    StoreDocument.new(stack=stack).write(home / "store" / "store.json")
    public_key = make_key(home / "keys" / "signing.key")
    (home / "runs").mkdir(parents=True)
    outputs = {
        "target": "local",
        "stack": stack,
        "project": str(home.parent),
        "store": {"url": (home / "store").as_uri()},
        "signing": {"private_key": str(home / "keys" / "signing.key"), "public_key": public_key},
        "training": {"image": image or f"process:training@sha256:{'0' * 64}", "runs": str(home / "runs")},
        "hosting": str(home / "hosting"),
    }
    return LocalPlatform(StackOutputs.new(**outputs))


@pytest.fixture
def make_version(tmp_path: Path) -> MakeVersion:
    """Write an unsigned model version; other weights make another identity."""

    def make(name: str = "chatbot", weights: str = "w", passed: bool | None = True, run: str = "") -> Path:
        folder = tmp_path / f"version-{name}-{weights[:16]}"
        write_version(folder, name, weights, passed, run)
        return folder

    return make


@pytest.fixture
def make_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Make a process image whose `python -m llmops_kit.training train` is the given code; its reference."""
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))

    def make(code: str) -> str:
        sha256 = sha256_bytes(code.encode())
        folder = tmp_path / "cache" / "images" / "training" / sha256
        (folder / "app/llmops_kit/training").mkdir(parents=True)
        (folder / "app/llmops_kit/training/__init__.py").touch()
        (folder / "app/llmops_kit/training/__main__.py").write_text(code)
        built = {"environment": "training-test", "program": "llmops_kit.training"}
        (folder / "image.json").write_text(json.dumps(built))
        python = tmp_path / "cache" / "venvs" / "training-test" / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        if not python.exists():
            python.symlink_to(sys.executable)
        return f"process:training@sha256:{sha256}"

    return make
