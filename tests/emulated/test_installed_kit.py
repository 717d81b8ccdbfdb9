"""The built wheels in environments that have none of our locks: each command starts with the lowest versions that the
wheels ask for, and at night with the newest; a user's folder previews, trains and goes away again, without the twins;
what `llmops init` writes works; with the twins, a stack on each is deployed, read and destroyed by plain `pulumi`.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

import pytest
import typer
from packaging.requirements import Requirement

from llmops_kit.cli.cli import app
from llmops_kit.cli.former_commands import FORMER
from tests.support.checkout import CHECKOUT
from tests.support.clouds.twin_stacks import SERVING, TRAINING
from tests.support.runs.yes_rows import DATA, EVALUATION, write_yes_rows
from tests.support.tiny_models.models import tiny_model

UV = Path(sys.executable).with_name("uv")
RESOLUTIONS = [
    "lowest-direct",
    # A release that breaks the kit is met a night later.
    pytest.param(
        "highest",
        marks=pytest.mark.long(
            "tests/emulated/test_installed_kit.py::test_each_module_and_command_works_without_our_lock"
        ),
    ),
]
PAGE = CHECKOUT / "docs/how-to/plain-pulumi.md"
EXTRAS = {
    "llmops_hosting": [""],
    "llmops_kit": ["", "aws", "azure", "data", "mlflow", "tensorboard"],
    "llmops_twins": ["", "aws", "azure", "pulumi"],
}
"""Extras for a user's machine. Images are made from locks; `preparation` and `ray` weigh gigabytes."""
PROGRAM = """\
from llmops_kit.infra.__main__ import main

main()
"""
FOREIGN = [
    "clouds",
    "contract",
    "hosting",
    "infra",
    "llmops",
    "policies",
    "preparation",
    "serving",
    "training",
    "twins",
]
"""Top-level packages that another distribution, or a user's folder, may have: the kit's folders have these names."""
RECIPE = f"""\
schema: recipe/2
name: my-bot
base_model: {{name: tiny, source: "folder:BASE", licence: Apache-2.0}}
{DATA}
training: {{epochs: 8, batch_size: 4, learning_rate: 1.0e-2, max_tokens: 512, precision: f32, threads: 1}}
{EVALUATION}
export: {{openvino: false}}
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels by their distributions' names."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in (CHECKOUT, CHECKOUT / "hosting", CHECKOUT / "twins"):
        _run([UV, "build", "-q", "--wheel", "--out-dir", folder, project], folder)
    return {path.name.partition("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture(scope="module", params=RESOLUTIONS)
def environment(
    wheels: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Mapping[str, str]:
    """The variables of a shell whose environment holds the three wheels and what they ask for."""
    folder = tmp_path_factory.mktemp("environment")
    # To uv, requirements of a wheel's file are indirect: of those it would take the highest versions in any case.
    needs = {line for name, extras in EXTRAS.items() for line in _needs(wheels[name], extras)}
    environ = _installed(folder, "--resolution", request.param, *sorted(needs), *wheels.values())
    (packages,) = (folder / "venv/lib").glob("python*/site-packages")
    _foreign_packages(packages)
    return environ


@pytest.fixture(scope="module")
def without_twins(wheels: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The variables of a shell whose environment holds what `pip install llmops-kit` brings."""
    return _installed(tmp_path_factory.mktemp("without-twins"), wheels["llmops_hosting"], wheels["llmops_kit"])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Pulumi.yaml, a stack file and the program, beside the user's own packages of common names."""
    (tmp_path / "Pulumi.yaml").write_text("name: my-bot\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  my-bot:target: local\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)
    _foreign_packages(tmp_path)
    return tmp_path


@pytest.mark.scorecard("sbom")
def test_the_wheel_carries_its_sbom(wheels: Mapping[str, Path]) -> None:
    """Where PEP 770 has it."""
    with zipfile.ZipFile(wheels["llmops_kit"]) as archive:
        (name,) = [n for n in archive.namelist() if ".dist-info/sboms/" in n]
        document = json.loads(archive.read(name))
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "llmops-kit"


def test_the_wheels_have_one_import_root_each(wheels: Mapping[str, Path]) -> None:
    roots: dict[str, set[str]] = {}
    for name, wheel in wheels.items():
        with zipfile.ZipFile(wheel) as archive:
            roots[name] = {n.partition("/")[0] for n in archive.namelist() if ".dist-info/" not in n}
    assert roots == {"llmops_hosting": {"llmops_kit"}, "llmops_kit": {"llmops_kit"}, "llmops_twins": {"llmops_twins"}}


def test_each_module_and_command_works_without_our_lock(tmp_path: Path, environment: Mapping[str, str]) -> None:
    """With the lowest versions that the wheels ask for, and with the newest, beside foreign packages."""
    script = CHECKOUT / "tests/support/use_installed.py"
    commands = json.dumps(list(_commands(typer.main.get_command(app))))
    found = _run(["python", "-I", script, *EXTRAS], tmp_path, environment, commands)
    assert json.loads(found) == {}
    assert "--stack" in _run(["llmops", "up", "--help"], tmp_path, environment)


@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_plain_pulumi_keeps_a_stack_on_a_twin(project: Path, environment: Mapping[str, str], cloud: str) -> None:
    """The page on plain Pulumi, with an endpoint, from a folder of one's own."""
    program, reader, automation = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert program == PROGRAM
    settings = {"aws": {"region": "eu-central-1"}, "azure": {"location": "westeurope"}}[cloud]

    def twins(verb: str, *options: str) -> str:
        return _run(["twins", cloud, verb, "--home", project / "twin", *options], project, environment)

    def configure(**endpoints: Mapping[str, str]) -> None:
        images = {"serving": SERVING, "training": TRAINING}
        given = {"target": cloud, cloud: settings, "images": images, "endpoints": endpoints}
        config = {"config": {f"my-bot:{name}": value for name, value in given.items()}}
        (project / "Pulumi.dev.yaml").write_text(json.dumps(config))

    try:
        twins("up", "--containers", "none")
        environ = {**environment, **dict(_exported(twins("env")))}
        engine = _run(["python", "-m", "llmops_kit.cli.pulumi_engine"], project, environ).strip()
        environ = {**environ, "PATH": f"{engine}:{environ['PATH']}", "PULUMI_STACK": "dev"}

        def pulumi(*words: str, folder: Path = project) -> str:
            return _run(["pulumi", *words, "--non-interactive"], folder, environ)

        def llmops(*words: str) -> str:
            return _run(["llmops", *words], project, environ)

        configure()
        pulumi("stack", "init", "dev")
        assert "create" in pulumi("preview")
        pulumi("up", "--yes")
        llmops("models", "import", "tiny", "--source", f"folder:{tiny_model()}", "--licence", "MIT")
        (version,) = json.loads(llmops("models", "list", "--json"))
        configure(chat={"model": f"{version['model']}@sha256:{version['sha256']}", "gate": "waived"})
        pulumi("up", "--yes", "--skip-preview")
        pulumi("preview", "--expect-no-changes")
        pulumi("refresh", "--yes")
        pulumi("preview", "--expect-no-changes")
        outputs = json.loads(pulumi("stack", "output", "--json"))
        assert outputs["endpoints"]["chat"]["sha256"] == version["sha256"]
        assert "succeeded" in _run(["python", "-"], project, environ, automation)
        llmops("init", "shelf", "--cloud", cloud, "--yes")
        planned = _run(["llmops", "--stack", f"{cloud}-dev", "plan"], project / "shelf", environ)
        assert "total at least" in planned
        office = _office(project / "office", reader)
        pulumi("stack", "init", "dev", folder=office)
        pulumi("up", "--yes", "--skip-preview", folder=office)
        assert pulumi("stack", "output", "chat", folder=office).strip() == outputs["endpoints"]["chat"]["url"]
        pulumi("destroy", "--yes", "--exclude-protected")
        assert "endpoint-chat" not in pulumi("stack", "export")
    finally:
        twins("down")


def test_the_twins_are_offered(tmp_path: Path, without_twins: Mapping[str, str]) -> None:
    assert "'llmops-kit[twins]'" in _run(["llmops", "twin", "--help"], tmp_path, without_twins)


@pytest.mark.parametrize("environment", ["lowest-direct"], indirect=True, scope="module")
def test_the_lowest_versions_deploy(project: Path, environment: Mapping[str, str]) -> None:
    _run(["llmops", "--stack", "dev", "up", "--yes"], project, environment)
    assert json.loads(_run(["llmops", "--stack", "dev", "status", "--json"], project, environment))["endpoints"] == []
    _run(["llmops", "--stack", "dev", "down", "-y"], project, environment)


def test_a_folder_of_ones_own_previews_and_trains(project: Path, without_twins: Mapping[str, str]) -> None:
    (project / "recipe.yaml").write_text(RECIPE.replace("BASE", str(tiny_model())))
    write_yes_rows(project)

    environ = {**without_twins, "PYTHONPATH": str(project)}

    def llmops(*arguments: str) -> str:
        return _run(["llmops", "--stack", "dev", *arguments], project, environ)

    llmops("plan")
    llmops("up", "--yes")
    llmops("train", "recipe.yaml")
    models = json.loads(llmops("models", "list", "--json"))
    assert {m["model"] for m in models} == {"tiny@1", "my-bot@1"}
    backend = {"PULUMI_BACKEND_URL": f"file://{project}/.llmops/state", "PULUMI_CONFIG_PASSPHRASE": ""}
    engine = _run(["python", "-m", "llmops_kit.cli.pulumi_engine"], project, environ).strip()
    bare = {**environ, **backend, "PATH": f"{engine}:{environ['PATH']}"}
    preview = _run(["pulumi", "preview", "--stack", "dev", "--non-interactive"], project, bare)
    assert "unchanged" in preview
    llmops("down", "--yes", "--data", "dev")
    assert not (project / ".llmops" / "dev" / "store").exists()


def test_init_writes_a_project_that_works(tmp_path: Path, without_twins: Mapping[str, str]) -> None:
    _run(["llmops", "init", "shelf", "--yes"], tmp_path, without_twins)
    folder = tmp_path / "shelf"
    recipe = folder / "recipe.yaml"
    base = f"source: folder:{tiny_model()}\n"
    recipe.write_text(re.sub(r"source: package:.*\n  revision: .*\n", base, recipe.read_text(), count=1))

    def llmops(*arguments: str) -> str:
        return _run(["llmops", "--stack", "local", *arguments], folder, without_twins)

    llmops("doctor")
    assert "40" in llmops("data", "build", "recipe.yaml")
    llmops("plan")
    try:
        llmops("up", "--yes")
        assert "this machine" in llmops("train", "recipe.yaml", "--check")
    finally:
        llmops("down", "--yes", "--data", "local")


def _needs(wheel: Path, extras: list[str]) -> Iterator[str]:
    """What a wheel asks for, as requirements of its own, without our other wheels."""
    with zipfile.ZipFile(wheel) as archive:
        (folder,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        found = PathDistribution(zipfile.Path(archive, f"{folder}/")).requires or []
    for each in map(Requirement, found):
        wanted = each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
        if wanted and not each.name.startswith("llmops-"):
            each.marker = None
            yield str(each)


def _installed(folder: Path, *options: str | Path) -> Mapping[str, str]:
    """Makes an environment as of the date that `make lock` has recorded; returns the variables of a shell in it."""
    date = (CHECKOUT / "requirements/newest.date").read_text().strip()
    python = folder / "venv/bin/python"
    _run([UV, "venv", "-q", "--python", sys.executable, folder / "venv"], folder)
    _run([UV, "pip", "install", "-q", "--python", python, "--exclude-newer", date, *options], folder)
    names = ("HOME", "LANG", "LLMOPS_CACHE", "XDG_CACHE_HOME")
    kept = {n: v for n, v in os.environ.items() if n in names or "CERT" in n or n.startswith(("UV_", "PIP_"))}
    return kept | {"PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin", "VIRTUAL_ENV": str(folder / "venv")}


def _foreign_packages(folder: Path) -> None:
    """Writes packages that end each program that imports one of them."""
    for name in FOREIGN:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise SystemExit('the kit imported somebody else's {name}')\n")


def _office(folder: Path, program: str) -> Path:
    """Writes another project, which reads the stack's outputs."""
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text("name: office\nruntime: python\n")
    (folder / "Pulumi.dev.yaml").write_text("config:\n  office:models: organization/my-bot/dev\n")
    (folder / "__main__.py").write_text(program)
    return folder


def _exported(text: str) -> Iterator[tuple[str, str]]:
    """The variables that a shell would have after `eval` of a twin's `env`; the environment has none that it unsets."""
    for line in text.splitlines():
        word, *rest = shlex.split(line)
        if word == "export":
            name, _, value = rest[0].partition("=")
            yield name, value


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command and group, without former ones, which only name the present command."""
    yield words
    for name, verb in getattr(command, "commands", {}).items():
        if " ".join((*words, name)) not in FORMER:
            yield from _commands(verb, (*words, name))


def _run(command: list[str | Path], cwd: Path, environ: Mapping[str, str] | None = None, given: str = "") -> str:
    done = subprocess.run(command, cwd=cwd, env=environ, input=given, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout
