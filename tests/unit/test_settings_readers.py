"""A stack's settings have one reader, and each rule of precedence is written once."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT, PACKAGES

READERS = {
    # Where the engine hands settings to a program.
    "pulumi.runtime.config": {"infra/llmops_kit/infra/settings.py"},
    # Where a stack file's text becomes values.
    "_config": {"src/llmops_kit/cli/stacks/stack_file.py"},
    "_endpoints": {"src/llmops_kit/cli/stacks/stack_file.py"},
}
"""Import or attribute -> the files that may have it."""
RESOLVED = "src/llmops_kit/settings/resolved.py"
DECIDED = {
    "size.instance_type",
    "cloud.instance_type",
    "aws.instance_type",
    "azure.instance_type",
    "given.instance_type",
    "schedule.instance_type",
    "schedule.max_hours",
    "rollout.bake_seconds",
    "aws.alarms",
    "azure.alerts",
    "given.alerts",
    "images.serving_vllm",
}
"""Settings that others have a say in: only the resolved values of endpoints, schedules and stacks are read."""
NO_CLOUDS_MACHINE = ("ml.", "Standard_")


def sources(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    for package in packages:
        for path in sorted(PACKAGES[package].rglob("*.py")):
            yield str(path.relative_to(CHECKOUT)), ast.parse(path.read_text())


def chains(tree: ast.AST) -> Iterator[str]:
    """The last two names of each attribute that is read: `size.instance_type` of `entry.size.instance_type`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            inner = node.value
            before = inner.attr if isinstance(inner, ast.Attribute) else inner.id if isinstance(inner, ast.Name) else ""
            yield f"{before}.{node.attr}"


def decided_elsewhere(tree: ast.AST) -> set[str]:
    return DECIDED.intersection(chains(tree))


def test_only_the_readers_see_raw_settings() -> None:
    for path, tree in sources("llmops_kit.infra", "llmops_kit.cli", "llmops_kit.policies", "llmops_kit.settings"):
        for node in ast.walk(tree):
            name = node.module if isinstance(node, ast.ImportFrom) else ""
            if name in READERS:
                assert path in READERS[name], path
            if isinstance(node, ast.Attribute) and node.attr in ("_config", "_endpoints"):
                holder = ast.unparse(node.value)
                assert "file" not in holder.lower() or path in READERS[node.attr], f"{path}: {ast.unparse(node)}"


def test_each_rule_of_precedence_is_written_once() -> None:
    found = {
        path: decided
        for path, tree in sources("llmops_kit.infra", "llmops_kit.cli", "llmops_kit.policies")
        if (decided := decided_elsewhere(tree))
    }
    # It hands the images of a component to the outputs: each by its own field.
    assert found == {"infra/llmops_kit/infra/targets/azure/components.py": {"images.serving_vllm"}}
    (resolved,) = [tree for path, tree in sources("llmops_kit.settings") if path == RESOLVED]
    assert {"size.instance_type", "cloud.instance_type", "rollout.bake_seconds"} <= decided_elsewhere(resolved)


@pytest.mark.parametrize(
    "code",
    [
        "kind = entry.size.instance_type or settings.aws.instance_type",
        "schedule.instance_type or jobs.instance_type",
        "entry.rollout.bake_seconds if x else 300",
        "settings.azure.alerts.error_rate",
    ],
)
def test_a_second_place_would_be_found(code: str) -> None:
    assert decided_elsewhere(ast.parse(code))


def test_contract_names_no_clouds_machine_but_in_descriptions() -> None:
    for path, tree in sources("llmops_kit.core"):
        described = {
            id(keyword.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            for keyword in node.keywords
            if keyword.arg == "description"
        }
        named = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.startswith(NO_CLOUDS_MACHINE)
            and id(node) not in described
        ]
        assert not named, Path(path)
