"""Which plugin the engine would find."""

from pathlib import Path

import pytest

from llmops_twins.core import plugin


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def put(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text("")
    path.chmod(mode)
    return path


def test_none_is_installed(home: Path) -> None:
    put(home / "plugins/resource-gcp-v1/pulumi-resource-gcp")
    put(home / "plugins/resource-aws-v1/pulumi-resource-aws", mode=0o644)
    assert plugin.installed("aws") is None


def test_one_in_pulumis_home(home: Path) -> None:
    there = put(home / "plugins/resource-aws-v7.51.1/pulumi-resource-aws")
    assert plugin.installed("aws") == there


def test_one_on_the_path_comes_first(home: Path) -> None:
    put(home / "plugins/resource-aws-v7.51.1/pulumi-resource-aws")
    there = put(home / "bin/pulumi-resource-aws")
    assert plugin.installed("aws") == there
