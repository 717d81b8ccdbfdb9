"""A target is found by its record alone: a new one touches its own rooms and `llmops_kit.clouds.targets`."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.images.stack_images import build_for, push_for
from llmops_kit.cli.interfaces.operations import Lazy
from llmops_kit.cli.plan.plan import make_plan
from llmops_kit.cli.platforms import registry, sweep
from llmops_kit.cli.rehearsal.clouds import find_cloud
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.targets import TARGETS
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.errors import UnsupportedError
from tests.support.checkout import CHECKOUT
from tests.support.clouds.null_target import RECORD, NullPlatform
from tests.unit.infra.program import run_program

STARTED_WITH_NULL = """
import sys
from llmops_kit.clouds.targets import TARGETS
from tests.support.clouds.null_target import RECORD
TARGETS["null"] = RECORD
from llmops_kit.cli.cli import main
main()
"""


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PulumiStack:
    """A stack of the target `null`, and its folder as the current one."""
    monkeypatch.setitem(TARGETS, "null", RECORD)
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    (tmp_path / "Pulumi.demo.yaml").write_text("config:\n  llmops:target: 'null'\n")
    (tmp_path / "__main__.py").touch()
    monkeypatch.chdir(tmp_path)
    return PulumiStack(Project(tmp_path), "demo")


def test_each_capability_of_each_target_is_there() -> None:
    for name in TARGETS:
        target = registry.operations_of(name)
        for each in (getattr(target, f.name) for f in fields(target)):
            assert not isinstance(each, Lazy) or each.load()


def test_the_program_of_a_new_target_previews(stack: PulumiStack) -> None:
    declared = run_program({"target": "null"}, preview=True)
    assert declared.types() >= {"llmops:Null"}
    outputs = StackOutputs.parse(json.dumps(declared.outputs), where="outputs")
    assert isinstance(registry.open_platform(outputs), NullPlatform)


def test_a_plan_of_a_new_target_says_what_changes(stack: PulumiStack, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"inputs": {}}
    step = {"op": "create", "urn": "urn:pulumi:demo::llmops::llmops:Null::store", "newState": state}
    monkeypatch.setattr(PulumiStack, "exists", lambda _: True)
    monkeypatch.setattr(PulumiStack, "preview", lambda _: {"steps": [step]})
    monkeypatch.setattr(PulumiStack, "_capture", lambda *_, **__: subprocess.CompletedProcess([], 0, "{}", ""))
    made = make_plan(stack, print)
    assert [(change.action, change.kind) for change in made.changes] == [("create", "null")]
    assert made.target == "null"


@pytest.mark.parametrize(
    "verb",
    [
        sweep.find,
        registry.recording,
        lambda stack: registry.use_policy(_outputs(stack)),
        lambda stack: build_for(stack, print),
        lambda stack: push_for(stack, print),
        lambda _: find_cloud("null"),
    ],
)
def test_verbs_that_a_target_lacks_are_refused(stack: PulumiStack, verb: Callable[[PulumiStack], Any]) -> None:
    with pytest.raises(UnsupportedError) as refused:
        verb(stack)
    assert "null" in refused.value.what
    assert "aws" in refused.value.fix


def test_a_new_target_is_suggested(stack: PulumiStack) -> None:
    stack.file.path.write_text("config:\n  llmops:target: nul\n")
    command = [sys.executable, "-c", STARTED_WITH_NULL, "--cwd", str(stack.project.folder), "status"]
    said = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert said.returncode == 2
    assert "did you mean null? write one of: local, aws, azure, null" in said.stderr


def _outputs(stack: PulumiStack) -> StackOutputs:
    return StackOutputs.parse(json.dumps(run_program({"target": stack.target}).outputs), where="outputs")
