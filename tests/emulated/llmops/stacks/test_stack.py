"""A stack in its backend, as the real engine tells of it."""

from pathlib import Path

import pytest

from llmops.stacks.project import Project
from llmops.stacks.stack import PulumiStack


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
