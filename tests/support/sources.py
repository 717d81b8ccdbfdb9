"""The source files that a program of the kit loads: the key of what it makes, in the tests' caches."""

import ast
import hashlib
from functools import cache
from pathlib import Path

from tests.support.checkout import CHECKOUT, PORTIONS


def sources(*modules: str, root: Path = CHECKOUT) -> set[Path]:
    """The files of modules and of everything below `root` that they import, directly or not."""
    found: set[Path] = set()
    known, left = set(modules), list(modules)
    while left:
        for path in _files(root, left.pop()) - found:
            found.add(path)
            new = _imported(path.read_bytes()) - known
            known |= new
            left += new
    return found


def sources_key(*modules: str, root: Path = CHECKOUT, others: tuple[Path, ...] = ()) -> str:
    """A hash of the sources of modules and of other files."""
    key = hashlib.sha256()
    for path in [*sorted(sources(*modules, root=root)), *others]:
        key.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return key.hexdigest()[:16]


def _files(root: Path, name: str) -> set[Path]:
    """The files of a module and of the packages above it; `name` may go on with what is taken from the module."""
    parts = name.split(".")
    bases = (root, *(root / portion.relative_to(CHECKOUT) for portion in PORTIONS))
    heads = [base.joinpath(*parts[:end]) for base in bases for end in range(1, len(parts) + 1)]
    return {path for head in heads for path in (head / "__init__.py", head.with_suffix(".py")) if path.is_file()}


@cache
def _imported(source: bytes) -> frozenset[str]:
    """Returns the modules that a file imports, at its top or within functions; each name may be one of a package."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return frozenset(found)
