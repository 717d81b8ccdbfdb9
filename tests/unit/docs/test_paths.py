"""Every file, folder and module of ours that the pages name exists."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT, PACKAGES, PORTIONS

PAGES = sorted(
    page
    for each in ("*", "docs/**/*", "recipes/**/*", "examples/**/*", "twins/*", "twins/docs/*")
    for page in CHECKOUT.glob(f"{each}.md")
)
FOLDERS = {"bench", "docs", "examples", "recipes", "requirements", "tests", "tools", *(path.name for path in PORTIONS)}
FORMER = {"contract", "clouds", "llmops", "policies", "preparation"}
"""Folders of before at the checkout's top: a page that names one leads nowhere."""
MADE = {"docs/smoke", "recipes/mine", "recipes/prices.jsonl", "recipes/prices.yaml", "recipes/support.yaml"}
"""Files and folders that a page tells its reader to make."""
_PATH = re.compile(rf"(?<![\w./~@{{<-])(?:{'|'.join(sorted(FOLDERS | FORMER))})/[\w./*<>{{}},-]*")
_MODULE = re.compile(r"(?<![\w.-])(?:llmops_kit|llmops_twins|bench|tools)(?:\.\w+)+")
_FILES = {"py", "toml", "txt", "json", "md", "sh", "cfg"}


def code(text: str) -> Iterator[str]:
    """Returns the code between backticks, outside of blocks."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`([^`]+)`", prose):
        yield " ".join(span.split())


def exists(path: str) -> bool:
    """Whether something matches a path, in which `<name>` stands for any name and braces for alternatives."""
    if any(path == made or path.startswith(f"{made}/") for made in MADE):
        return True
    parts = re.split(r"\{([^}]*)\}", re.sub(r"<\w+>", "*", path).rstrip("/.,"))
    choices = [part.split(",") if i % 2 else [part] for i, part in enumerate(parts)]
    return all(any(CHECKOUT.glob("".join(choice))) for choice in product(*choices))


def is_module(name: str) -> bool:
    """Whether a dotted name is a module, or a name that its module defines."""
    for end in (name.count(".") + 1, name.count(".")):
        module = ".".join(name.split(".")[:end])
        file = source_of(module)
        if file and (module == name or name.rpartition(".")[2] in defined_in(file)):
            return True
    return False


def source_of(module: str) -> Path | None:
    """Returns the file or folder of a module of this checkout."""
    root = next((root for root in sorted(PACKAGES) if module == root or module.startswith(f"{root}.")), "")
    folder = PACKAGES.get(root, CHECKOUT)
    below = folder.joinpath(*module.removeprefix(root).strip(".").split("."))
    file = below.with_name(f"{below.name}.py")
    return file if file.is_file() else below if below.is_dir() else None


@cache
def defined_in(file: Path) -> set[str]:
    """Returns the names that a module, or a package's `__init__.py`, defines or imports."""
    file = file / "__init__.py" if file.is_dir() else file
    text = file.read_text() if file.exists() else ""
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)} | {
        node.name for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.alias))
    }


def wrong(text: str) -> list[str]:
    """Returns the paths and modules in a page's code that don't exist."""
    spans = list(code(text))
    paths = {path for span in spans for path in _PATH.findall(span)}
    modules = {name for span in spans for name in _MODULE.findall(span) if name.rpartition(".")[2] not in _FILES}
    return sorted([*(path for path in paths if not exists(path)), *(name for name in modules if not is_module(name))])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(CHECKOUT).as_posix())
def test_paths_and_modules_exist(page: Path) -> None:
    assert wrong(page.read_text()) == []


@pytest.mark.parametrize(
    "name",
    [
        "hosting/documents/",
        "training/data/rows.py",
        "tests/unit/nowhere",
        "llmops_kit.core.nowhere",
        "bench.nowhere",
        "docs/{architecture,nowhere}.md",
    ],
)
def test_a_wrong_name_is_noticed(name: str) -> None:
    assert wrong(f"See `{name}`.") == [name]


@pytest.mark.parametrize(
    "name",
    [
        "docs/{architecture,glossary}.md",
        "recipes/<name>.yaml",
        "tests/unit/",
        "llmops_kit.core.errors.KitError",
        "bench.serving",
        "llmops_kit.serving",
    ],
)
def test_a_right_name_passes(name: str) -> None:
    assert wrong(f"See `{name}`.") == []


def test_the_policy_pack_is_where_the_pages_say() -> None:
    page = (CHECKOUT / "docs/security.md").read_text()
    folders = re.findall(r"(?:--policy-pack |POLICY_PACK=)([\w/]+)", page)
    assert folders
    assert {folder: (CHECKOUT / folder / "PulumiPolicy.yaml").is_file() for folder in folders} == {folders[0]: True}
    [program] = re.findall(r'^python -c "([^"]+)"$', page, flags=re.MULTILINE)
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    assert Path(printed.stdout.strip()) == CHECKOUT / folders[0]
