"""Cycles in a graph of imports."""

from collections.abc import Iterator

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
