"""No module of the twins is in a cycle, and their tests stand without the kit."""

import ast
from functools import cache
from pathlib import Path

import grimp
import pytest

from tests.support.checkout import CHECKOUT, PACKAGES
from tests.support.imports import cycles, knots, unseen

KIT = {"bench", *(f"llmops_kit.{room}" for room in ("clouds", "infra", "cli", "policies", "serving", "training"))}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("llmops_twins", cache_dir=None)


def test_every_module_is_under_the_rules(graph: grimp.ImportGraph) -> None:
    found = unseen(graph, "llmops_twins", PACKAGES["llmops_twins"])
    assert list(found) == []


def test_no_modules_import_each_other(graph: grimp.ImportGraph) -> None:
    """Imports for type checking count too."""
    assert [sorted(group) for group in cycles(graph)] == []


def test_no_packages_import_each_other(graph: grimp.ImportGraph) -> None:
    """Of any two packages beside each other, one is below the other."""
    assert [sorted(group) for group in knots(graph)] == []


def test_tests_import_nothing_of_the_kit() -> None:
    tests = CHECKOUT / "twins/tests"
    found = {path.relative_to(tests).as_posix() for path in tests.rglob("*.py") if kit_modules(path)}
    assert found == set()


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
            if any(f"{name}.".startswith(f"{room}.") for room in KIT):
                found.add(name)
            elif name.startswith("tests.") and file.exists():
                found |= kit_modules(file)
    return frozenset(found)
