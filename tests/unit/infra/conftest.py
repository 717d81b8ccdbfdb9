"""A project's folder for each test."""

import shutil
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as the current folder."""
    folder = tmp_path.resolve()
    shutil.copy(CHECKOUT / "Pulumi.yaml", folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def store(project: Path) -> Path:
    """The place of stack demo's store."""
    return project / ".llmops" / "demo" / "store"
