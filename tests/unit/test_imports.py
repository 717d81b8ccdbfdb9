"""Who may import whom: the contracts in pyproject.toml hold, and each of them can be broken."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from tests.support.checkout import CHECKOUT, PACKAGES
from tests.support.imports import cycles, knots, unseen

ROOMS = [*PACKAGES]
KIT = [room for room in ROOMS if room != "llmops_twins"]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", folder / "pyproject.toml"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder), "COLUMNS": "200"},
        text=True,
        capture_output=True,
    )


def test_the_import_rules_hold() -> None:
    run = lint(CHECKOUT)
    assert run.returncode == 0, run.stdout + run.stderr


def layered() -> Iterator[tuple[str, list[list[str]]]]:
    """Yields the packages that have layers, and these, highest first."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    for contract in project["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers":
            rows = [re.split(r" [|:] ", row) for row in contract["layers"]]
            yield from ((container, rows) for container in contract["containers"])


def file_of(folder: Path, module: str) -> Path:
    """The file of a module below a folder."""
    return folder.joinpath(*module.split(".")).with_suffix(".py")


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rules over rooms that hold next to nothing, so that a test may break them."""
    folder = tmp_path_factory.mktemp("skeleton")
    rules = (CHECKOUT / "pyproject.toml").read_text()
    excused = 'unmatched_ignore_imports_alerting = "none"\nignore_imports = ['  # nothing is imported here yet
    (folder / "pyproject.toml").write_text(rules.replace("ignore_imports = [", excused))
    for package in [
        *ROOMS,
        *(container for container, _ in layered()),
        "llmops_kit.cli.platforms.aws",
        "llmops_kit.cli.platforms.azure",
        "llmops_kit.cli.pulumi_engine",
        "llmops_kit.clouds.aws",
        "llmops_kit.clouds.azure",
        "llmops_kit.infra.targets.aws.providers",
        "llmops_kit.infra.targets.aws.resources",
        "llmops_kit.infra.targets.azure.providers",
        "llmops_kit.infra.targets.azure.resources",
        "llmops_kit.infra.targets.local.providers",
        "llmops_kit.infra.targets.local.resources",
        "llmops_twins.aws",
        "llmops_twins.azure",
        "llmops_twins.core",
        "llmops_twins.plugins",
    ]:
        path = folder.joinpath(*package.split("."))
        path.mkdir(parents=True, exist_ok=True)
        while path.name != "llmops_kit" and path != folder:  # which is a namespace
            (path / "__init__.py").touch()
            path = path.parent
    for container, rows in layered():
        for name in (name for row in rows for name in row):
            if not (path := file_of(folder, f"{container}.{name}")).with_suffix("").exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    for module in [
        "llmops_kit.cli.pulumi_engine.dynamic_provider",
        "llmops_kit.cli.pulumi_engine.language_host",
        "llmops_kit.clouds.aws.errors",
        "llmops_kit.clouds.aws.objects",
        "llmops_kit.clouds.aws.session",
        "llmops_kit.clouds.azure.arm",
        "llmops_kit.clouds.azure.objects",
        "llmops_kit.clouds.azure.session",
        "llmops_kit.infra.__main__",
        "llmops_kit.infra.resource_names",
        "llmops_kit.infra.settings",
        "llmops_kit.infra.targets.aws.resolve",
        "llmops_kit.infra.targets.azure.resolve",
        "llmops_kit.infra.targets.local.keys",
        "llmops_kit.infra.targets.local.resolve",
        "llmops_kit.infra.targets.target",
        "llmops_kit.local_runtime.process_images",
        "llmops_kit.policies.__main__",
        "llmops_twins.core.faults",
    ]:
        file_of(folder, module).touch()
    return folder


def test_the_skeleton_keeps_the_rules(skeleton: Path) -> None:
    run = lint(skeleton)
    assert run.returncode == 0, run.stdout + run.stderr


BROKEN = {
    "llmops_kit.core.bad": "llmops_kit.local_runtime",
    "llmops_kit.training.bad": "boto3",
    "llmops_kit.training.worse": "azure",
    "llmops_kit.serving.bad": "pulumi",
    "llmops_kit.serving.late": "sagemaker",
    "llmops_kit.serving.neighbour": "llmops_kit.training",
    "llmops_kit.clouds.bad": "pulumi",
    "llmops_kit.clouds.worse": "llmops_kit.infra",
    "llmops_kit.clouds.neighbour": "boto3",
    "llmops_kit.settings.bad": "pulumi",
    "llmops_kit.settings.worse": "llmops_kit.policies",
    "llmops_kit.clouds.aws.bad": "azure",
    "llmops_kit.infra.targets.aws.resources.bad": "llmops_kit.clouds.aws.session",
    "llmops_kit.infra.targets.aws.resources.worse": "llmops_kit.infra.targets.aws.resolve",
    "llmops_kit.infra.targets.local.resources.bad": "llmops_kit.local_runtime.process_images",
    "llmops_kit.infra.targets.local.resources.worse": "llmops_kit.infra.targets.local.resolve",
    "llmops_kit.training.cloud": "llmops_kit.clouds",
    "llmops_twins.ground": "llmops_kit.clouds",
    "llmops_kit.local_runtime.bad": "pulumi",
    "llmops_kit.local_runtime.worse": "llmops_kit.serving",
    "llmops_kit.policies.bad": "pulumi",
    "llmops_kit.policies.worse": "llmops_kit.infra",
    "llmops_kit.local_runtime.rules": "llmops_kit.policies",
    "llmops_kit.infra.bad": "llmops_kit.local_runtime",
    "llmops_kit.infra.settings": "pulumi_aws",
    "llmops_kit.infra.targets.azure.providers.live": "azure",
    "llmops_kit.infra.targets.azure.resources.bad": "llmops_kit.clouds.azure.session",
    "llmops_kit.cli.bad": "pulumi",
    "llmops_kit.cli.worse": "llmops_kit.infra",
    "llmops_kit.cli.cloud": "boto3",
    "llmops_twins.bad": "llmops_kit.infra",
    "llmops_twins.core.bad": "llmops_twins.aws",
    "llmops_twins.core.worse": "boto3",
    "llmops_twins.aws.neighbour": "llmops_twins.azure",
    "llmops_twins.azure.bad": "azure",
}


def test_each_rule_can_be_broken(skeleton: Path) -> None:
    for module, imported in BROKEN.items():
        file_of(skeleton, module).write_text(f"def late():\n    import {imported}\n")
    # These are allowed.
    file_of(skeleton, "llmops_kit.infra.targets.local.providers.endpoints").write_text(
        "import llmops_kit.local_runtime.bad\n"
    )
    file_of(skeleton, "llmops_kit.clouds.aws.session").write_text("import boto3\n")
    file_of(skeleton, "llmops_kit.infra.targets.aws.providers.live").write_text(
        "import llmops_kit.clouds.aws.session\n"
    )
    file_of(skeleton, "llmops_kit.infra.rules").write_text("import llmops_kit.policies\n")
    file_of(skeleton, "llmops_kit.policies.__main__").write_text("import pulumi.runtime\n")
    file_of(skeleton, "llmops_kit.clouds.azure.arm").write_text("import azure.core\n")
    file_of(skeleton, "llmops_kit.cli.platforms.aws.store").write_text("import boto3\n")
    file_of(skeleton, "llmops_kit.cli.platforms.azure.store").write_text("import azure.core\n")
    run = lint(skeleton)
    assert run.returncode == 1, run.stdout + run.stderr
    for module, imported in BROKEN.items():
        assert f"{module} -> {imported} (l.2)" in run.stdout, run.stdout
    for allowed in (
        "llmops_kit.infra.rules",
        "llmops_kit.policies.__main__",
        "llmops_kit.infra.targets.local.providers",
        "llmops_kit.infra.targets.aws.providers.live",
        "llmops_kit.clouds.aws.session ->",
        "llmops_kit.clouds.azure.arm",
        "llmops_kit.cli.platforms.a",
    ):
        assert f"{allowed}" not in run.stdout


def test_every_layer_can_be_broken(skeleton: Path) -> None:
    """The lowest module of each layered package imports the highest one."""
    for container, rows in layered():
        path = file_of(skeleton, f"{container}.{rows[-1][0]}")
        path = path if path.exists() else path.with_suffix("") / "__init__.py"
        path.write_text(f"import {container}.{rows[0][0]}\n")
    run = lint(skeleton)
    for container, rows in layered():
        assert f"{container}.{rows[-1][0]} is not allowed to import {container}.{rows[0][0]}" in run.stdout, run.stdout


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """The kit's imports, built as import-linter builds them. The twins have tests of their own that equal these."""
    return grimp.build_graph(*KIT, cache_dir=None)


def test_every_module_is_under_the_rules(graph: grimp.ImportGraph) -> None:
    assert {module for room in KIT for module in unseen(graph, room, PACKAGES[room])} == set()


def _uses_of_typer(path: Path) -> Iterator[str]:
    """Yields what a file names of click, and of typer beside its top level."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)) if "typer" in text or "click" in text else ():
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if re.match(r"click\b|typer\.", alias.name))
        elif isinstance(node, ast.ImportFrom) and re.match(r"click\b|typer\.", node.module or ""):
            yield f"from {node.module}"
        elif isinstance(node, ast.Attribute) and re.match(r"typer\.\w+\.", name := ast.unparse(node)):
            yield name


def test_the_command_lines_use_typers_documented_names() -> None:
    """Its modules change without notice, and click is no longer below it."""
    files = [path for room in ("llmops_kit.cli", "llmops_twins") for path in PACKAGES[room].rglob("*.py")]
    found = {str(path): set(_uses_of_typer(path)) for path in files if "tests" not in path.parts}
    assert {name: uses for name, uses in found.items() if uses} == {}


def test_no_modules_import_each_other(graph: grimp.ImportGraph) -> None:
    """Imports for type checking count too."""
    assert [sorted(group) for group in cycles(graph)] == []


def test_no_packages_import_each_other(graph: grimp.ImportGraph) -> None:
    """Of any two packages beside each other, one is below the other."""
    assert [sorted(group) for group in knots(graph)] == []


def test_a_knot_is_found() -> None:
    graph = grimp.ImportGraph()
    for importer, imported in (("a.b.one", "a.c.two"), ("a.c.three", "a.d"), ("a.d", "a.b.four"), ("a.e", "a.b.one")):
        graph.add_import(importer=importer, imported=imported)
    assert list(cycles(graph)) == []
    assert list(knots(graph)) == [{"a.b", "a.c", "a.d"}]


def test_a_cycle_is_found() -> None:
    graph = grimp.ImportGraph()
    for importer, imported in (("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")):
        graph.add_import(importer=importer, imported=imported)
    assert list(cycles(graph)) == [{"a", "b", "c"}]


def test_every_room_is_under_the_rules() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    assert project["tool"]["importlinter"]["root_packages"] == ROOMS


@pytest.mark.parametrize("command", ["status", "runs"])
def test_the_command_line_starts_without_pulumi(command: str) -> None:
    code = (
        "import sys\nfrom llmops_kit.cli.cli import app\n"
        f"try: app(['{command}', '--help'])\nexcept SystemExit as e: assert e.code == 0, e\n"
        "heavy = {name.partition('.')[0] for name in sys.modules} & {'pulumi', 'torch', 'transformers', 'openvino'}\n"
        "assert not heavy, heavy\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, text=True, capture_output=True)
    assert run.returncode == 0, run.stderr
