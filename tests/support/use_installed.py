"""Run by the Python of an environment with the built wheels: imports what they import, asks each command for its help.

`use_installed.py DISTRIBUTION...` reads the commands as JSON, a list of lists of words, and prints what failed as JSON.
Standard library only, but for what it tries.
"""

import ast
import importlib
import json
import sys
from contextlib import redirect_stdout
from importlib.metadata import files
from io import StringIO
from pathlib import Path
from types import ModuleType

from typer.main import get_command

from llmops_kit.cli.cli import app

_APART = ("llmops_kit.training", "llmops_kit.serving", "llmops_kit.data_pipeline")
"""Run in images, which have locks of their own, or with extras that weigh gigabytes."""
_ABSENT = {"sagemaker", "openai"}
"""Of extras that are not installed; whoever needs them says so."""
_BY_OTHERS = {
    *(
        f"llmops_kit.cli.pulumi_engine.{name}"
        for name in ("__main__", "language_host", "dynamic_provider", "warm_host")
    ),
    "llmops_twins.pytest_plugin",
}
"""Started as programs by Pulumi's engine, or loaded by pytest."""


def main() -> None:
    """Imports the modules of the distributions that sys.argv names, and asks for the help of each command."""
    failed: dict[str, str] = {}
    for distribution in sys.argv[1:]:
        for file in files(distribution) or []:
            module = str(file).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            if file.suffix == ".py" and not module.startswith(_APART) and module not in _BY_OTHERS:
                failed |= _imported(module, Path(str(file.locate())))
    command = get_command(app)  # once: typer's own runner would make all commands anew for each
    for words in json.load(sys.stdin):
        with redirect_stdout(StringIO()) as said:
            try:
                ended = command.main([*words, "--help"], prog_name="llmops", standalone_mode=False)
            except (Exception, SystemExit) as error:
                ended = repr(error)
        if ended or "--help" not in said.getvalue():
            failed[" ".join(["llmops", *words])] = f"{said.getvalue()}{ended}"
    print(json.dumps(failed))


def _imported(module: str, path: Path) -> dict[str, str]:
    """Imports a module, and whatever its functions import or take from an imported module when they are called."""
    try:
        there = vars(importlib.import_module(module))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                _require(node.module, *(alias.name for alias in node.names))
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    _require(alias.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                _require_attribute(there.get(node.value.id), node.attr)
    except (ImportError, AttributeError) as error:
        return {module: repr(error)}
    return {}


def _require(module: str, *names: str) -> None:
    if module.partition(".")[0] in _ABSENT or module.startswith(_APART):
        return
    imported = importlib.import_module(module)
    for name in names:
        if not hasattr(imported, name):
            importlib.import_module(f"{module}.{name}")


def _require_attribute(owner: object, name: str) -> None:
    if isinstance(owner, ModuleType):
        getattr(owner, name)


if __name__ == "__main__":
    main()
