"""The kit's own program declares nothing that the stand-in does not know."""

import ast
from collections.abc import Iterator
from pathlib import Path

import llmops_kit.infra.targets.azure
from llmops_twins.plugins.azure_native.rules import actions, tokens

FOLDER = Path(llmops_kit.infra.targets.azure.__file__).parent
SDK = "pulumi_azure_native"
CALLS = ("get_client_config", "get_client_config_output", "get_client_token", "get_client_token_output")


def used() -> Iterator[tuple[str, str]]:
    """(module of the SDK, what is called of it) in the program's files."""
    for path in sorted(FOLDER.rglob("*.py")):
        tree = ast.parse(path.read_text())
        modules = dict(imported(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of = node.func.value
                if isinstance(of, ast.Name) and of.id in modules and modules[of.id]:
                    yield modules[of.id], node.func.attr
                elif isinstance(of, ast.Attribute) and isinstance(of.value, ast.Name) and of.value.id in modules:
                    yield of.attr, node.func.attr


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Name in a file -> the SDK's module that it stands for; "" for the SDK itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == SDK:
            yield from ((each.asname or each.name, each.name) for each in node.names)
        elif isinstance(node, ast.Import):
            yield from (
                (each.asname or each.name, each.name.removeprefix(SDK).lstrip("."))
                for each in node.names
                if each.name.partition(".")[0] == SDK
            )


def test_every_type_and_function_of_the_program_is_known() -> None:
    found = set(used())
    assert len(found) > 20
    functions = {f.removeprefix("azure-native:").lower() for f in actions()}
    for module, name in found:
        if name[0].isupper() and not name.endswith("Args"):
            assert f"azure-native:{module}:{name}" in tokens()
        elif name.startswith(("get_", "list_")) and name not in CALLS:
            plain = name.removesuffix("_output").replace("_", "")
            getters = {t.removeprefix("azure-native:").replace(":", ":get").lower() for t in tokens()}
            assert f"{module}:{plain}" in functions | getters
