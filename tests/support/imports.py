"""Cycles in a graph of imports, of modules and of packages, and files that it lacks."""

from collections.abc import Iterator
from pathlib import Path

import grimp


def cycles(graph: grimp.ImportGraph) -> Iterator[set[str]]:
    """Yields groups of modules that import each other, directly or not: strongly connected components."""
    reached = {module: graph.find_upstream_modules(module) for module in graph.modules}
    left = {module for module in graph.modules if any(module in reached[other] for other in reached[module])}
    while left:
        module = min(left)
        group = {module} | {other for other in reached[module] if module in reached[other]}
        yield group
        left -= group


def knots(graph: grimp.ImportGraph) -> Iterator[set[str]]:
    """Yields groups of packages that import each other: at each level, a package stands for all that is in it, and
    modules beside packages count as one too.
    """
    parents = {module.rpartition(".")[0] for module in graph.modules if "." in module}
    for parent in sorted(parents):
        depth = parent.count(".") + 2
        level = grimp.ImportGraph()
        for module in graph.modules:
            if not module.startswith(f"{parent}."):
                continue
            importer = ".".join(module.split(".")[:depth])
            for found in graph.find_modules_directly_imported_by(module):
                imported = ".".join(found.split(".")[:depth])
                if found.startswith(f"{parent}.") and importer != imported:
                    level.add_import(importer=importer, imported=imported)
        yield from cycles(level)


def unseen(graph: grimp.ImportGraph, name: str, package: Path) -> Iterator[str]:
    """Yields the modules below a folder that no rule can see: a folder above them has no `__init__.py`."""
    for path in package.rglob("*.py"):
        names = (name, *path.relative_to(package).with_suffix("").parts)
        module = ".".join(names[:-1] if names[-1] == "__init__" else names)
        if module not in graph.modules:
            yield module
