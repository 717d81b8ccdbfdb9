"""The Pulumi engine on this machine: found, downloaded or built once.

    from llmops_kit.cli.pulumi_engine.engine import ensure
    engine = ensure()
    subprocess.run([engine.pulumi, "preview"], env={**os.environ, **engine.env})

In this order: the user's own `pulumi` on PATH; the kit's own in the cache; one from Pulumi's release, if its sha256 is
pinned; one built from its Go module. `python -m llmops_kit.cli.pulumi_engine` does the same from a shell, and prints
the folder of the engine if it is the kit's own.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from llmops_kit.cli.pulumi_engine.host_folder import add_language_host
from llmops_kit.cli.pulumi_engine.version import MINIMUM, Report, parse_version, pinned_version
from llmops_kit.core.layout import cache_dir


@dataclass(frozen=True)
class EngineInstall:
    """An installed engine: `pulumi` is the executable; `env` has the variables to add to the environment it runs in."""

    pulumi: Path
    version: str
    own: bool
    """True for the kit's engine, False for the user's."""
    env: dict[str, str] = field(default_factory=dict)


def ensure(report: Report | None = None) -> EngineInstall:
    """Returns the engine; if there is none, downloads it, or compiles it for minutes, once a machine.

    Raises:
        KitError: it can be neither found, nor downloaded, nor built.
    """
    return _described(obtain(report))


def obtain(report: Report | None = None) -> Path:
    """Returns the executable of the engine, installed if missing. Needs the standard library only.

    Raises:
        KitError: as of `ensure`.
    """
    if there := _users(report) or _built():
        return there
    from llmops_kit.cli.pulumi_engine import install

    return install.install(engine_home(), pinned_version(), report or install.print_progress)


def find(report: Report | None = None) -> EngineInstall | None:
    """Returns the user's engine or the kit's if one is installed. Takes 0.1 s, downloads nothing."""
    there = _users(report) or _built()
    return _described(there) if there else None


def engine_home() -> Path:
    """Returns the folder of the kit's own engine of the pinned version: `bin/pulumi`, and its plugins in `hosts/`."""
    return cache_dir() / "engine" / pinned_version()


def _users(report: Report | None) -> Path | None:
    """Returns the first real `pulumi` on PATH that is new enough and can run Python programs."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        pulumi = Path(folder or ".", "pulumi")
        if not (pulumi.is_file() and os.access(pulumi, os.X_OK)) or _is_own(pulumi):
            continue
        reason = _unusable(pulumi)
        if reason is None:
            return pulumi
        if report:
            report(f"{pulumi} is not used because {reason}")
    return None


def _unusable(pulumi: Path) -> str | None:
    version = _version_of(pulumi)
    if version is None:
        return "`pulumi version` names no version"
    if version < MINIMUM:
        return f"its version {'.'.join(map(str, version))} is below {'.'.join(map(str, MINIMUM))}"
    path = os.pathsep.join([str(pulumi.resolve().parent), str(pulumi.parent), os.environ.get("PATH", "")])
    host = shutil.which("pulumi-language-python", path=path)
    if host is None or _is_own(Path(host)):
        return "it has no pulumi-language-python"
    return None


def _version_of(pulumi: Path) -> tuple[int, int, int] | None:
    try:
        asked = subprocess.run(
            [pulumi, "version"],
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "1"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(asked.stdout) if asked.returncode == 0 else None


def _is_own(executable: Path) -> bool:
    return executable.resolve().is_relative_to((cache_dir() / "engine").resolve())


def _built() -> Path | None:
    pulumi = engine_home() / "bin" / "pulumi"
    return pulumi if pulumi.is_file() else None


def _described(pulumi: Path) -> EngineInstall:
    if not _is_own(pulumi):
        return EngineInstall(pulumi, ".".join(map(str, _version_of(pulumi) or ())), own=False)
    folder = add_language_host(engine_home())
    return EngineInstall(
        folder / "pulumi",
        pinned_version(),
        own=True,
        env={
            "PATH": os.pathsep.join([str(folder), os.environ.get("PATH", os.defpath)]),
            "PULUMI_SKIP_UPDATE_CHECK": "1",  # it is the version that this kit was tried with
            # It lives for seconds: with Go's usual 100 a tenth to a fifth of its time goes into collecting garbage.
            "GOGC": os.environ.get("GOGC", "400"),
        },
    )
