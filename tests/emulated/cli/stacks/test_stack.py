"""A stack in its backend, as the real engine tells of it."""

import json
import subprocess
from pathlib import Path

import pytest

from llmops_kit.cli.pulumi_engine.engine import ensure
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack


def test_a_state_tells_a_new_stack_from_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "backend").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  llmops:target: local\n")
    monkeypatch.setenv("PULUMI_BACKEND_URL", (tmp_path / "backend").as_uri())
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "")
    stack = PulumiStack(Project.find(tmp_path), "dev")
    assert stack.find_state() is None
    assert not stack.exists()
    stack.create()
    state = stack.find_state()
    assert state is not None
    assert not state.get("resources")
    assert stack.exists()


@pytest.mark.parametrize("url", ["file://{}", "file://{}/?metadata=skip"])
def test_a_backend_is_named_as_the_engine_names_it(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  llmops:target: aws\n")
    monkeypatch.setenv("PULUMI_BACKEND_URL", url.format(tmp_path))
    stack = PulumiStack(Project.find(tmp_path), "dev")
    told = subprocess.run(
        [ensure().pulumi, "whoami", "--json"], cwd=tmp_path, env=stack.environ(), capture_output=True, check=True
    )
    assert stack.backend == json.loads(told.stdout)["url"] == url.format(tmp_path)
