"""No module of the twins is in a cycle, and their tests stand without the kit."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp

CHECKOUT = Path(__file__).resolve().parents[3]
KIT = {"bench", "clouds", "infra", "llmops", "policies", "serving", "training"}
KIT_LEFT = {
    "emulated/aws/test_jobs_training.py",
    "emulated/azure/conftest.py",
    "emulated/azure/ml/running/test_a_killed_twin.py",
    "emulated/azure/processes.py",
    "emulated/azure/test_data.py",
    "emulated/azure/test_identity.py",
    "emulated/azure/test_machinelearning.py",
    "emulated/azure/test_process.py",
    "emulated/azure/test_resources.py",
    "emulated/plugins/azure_native/conftest.py",
    "emulated/plugins/azure_native/test_plugin.py",
    "emulated/plugins/azure_native/test_services.py",
    "emulated/plugins/conftest.py",
    "emulated/test_other_users.py",
    "unit/azure/judges/test_conditions.py",
    "unit/azure/services/test_authorization.py",
    "unit/plugins/azure_native/test_used_types.py",
}
"""Tests that still import the kit, directly or through tests.support: each one goes from here when it stops."""


def cycles(graph: grimp.ImportGraph) -> Iterator[set[str]]:
    """Groups of modules that import each other, directly or not: strongly connected components."""
    reached = {module: graph.find_upstream_modules(module) for module in graph.modules}
    left = {module for module in graph.modules if any(module in reached[other] for other in reached[module])}
    while left:
        module = min(left)
        group = {module} | {other for other in reached[module] if module in reached[other]}
        yield group
        left -= group


def test_no_modules_import_each_other() -> None:
    """Imports for type checking count too."""
    graph = grimp.build_graph("twins", cache_dir=None)
    assert [sorted(group) for group in cycles(graph)] == []


def test_tests_import_nothing_of_the_kit() -> None:
    tests = CHECKOUT / "twins/tests"
    found = {path.relative_to(tests).as_posix() for path in tests.rglob("*.py") if kit_modules(path)}
    assert found - KIT_LEFT == set()
    assert KIT_LEFT - found == set(), "take it out"


@cache
def kit_modules(path: Path) -> frozenset[str]:
    """Modules of the kit that a test imports, or a module of `tests` that it imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            file = CHECKOUT / f"{name.replace('.', '/')}.py"
            if name.partition(".")[0] in KIT:
                found.add(name)
            elif name.startswith("tests.") and file.exists():
                found |= kit_modules(file)
    return frozenset(found)
