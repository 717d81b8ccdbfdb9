"""Overhead of the kit over Pulumi: `python -m bench.preview [--rounds 9]`.

`pulumi preview` and a no-op `pulumi up` of a stack like the demo's (one endpoint, running) against a Python program
that only imports pulumi, on the same engine and interpreter, in turns. Ratios are of medians of one run; user seconds
are the processor time of the engine and its plugins, which other work on the machine disturbs less.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from llmops_kit.cli.pulumi_engine.engine import ensure
from llmops_kit.cli.stacks.backend import folder_url
from llmops_kit.core.documents.store import Alias
from llmops_kit.core.integrity.signing import sign
from llmops_kit.core.layout import alias_key, model_key
from llmops_kit.local_runtime.host import Host
from tests.support.tiny_models.models import copy_model, tiny_model

_RUNTIME = f"runtime: {{name: python, options: {{toolchain: pip, virtualenv: '{sys.prefix}'}}}}\n"
_COMMANDS = {"preview": ["preview"], "no-op up": ["up", "--yes"]}


@dataclass
class Times:
    """Seconds of each turn."""

    wall: list[float] = field(default_factory=list)
    user: list[float] = field(default_factory=list)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="bench-preview-") as name:
        folder = Path(name).resolve()
        empty = _project(folder / "empty", "import pulumi\n")
        with _kit(folder / "kit") as kit:
            print(f"{rounds} rounds; medians in s\n{'':10} {'':8} {'empty':>7} {'kit':>7} {'ratio':>7}")
            for label, command in _COMMANDS.items():
                _compare(label, command, [empty, kit], rounds)


def _compare(label: str, command: list[str], projects: list[Path], rounds: int) -> None:
    times = [Times() for _ in projects]
    for _ in range(rounds):
        for project, taken in zip(projects, times, strict=True):
            started, user = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            text = _pulumi(project, *command)
            taken.wall.append(time.perf_counter() - started)
            taken.user.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - user)
            assert "unchanged" in text, text
            assert not any(word in text for word in ("to create", "to update", "updated", "created")), text
    for kind in ("wall", "user"):
        empty, kit = (statistics.median(getattr(taken, kind)) for taken in times)
        print(f"{label:10} {kind:8} {empty:7.2f} {kit:7.2f} {kit / empty:7.2f}")


def _project(folder: Path, program: str, configuration: str = "") -> Path:
    (folder / "state").mkdir(parents=True)
    (folder / "Pulumi.yaml").write_text("name: llmops\n" + _RUNTIME + configuration)
    (folder / "__main__.py").write_text(program)
    _pulumi(folder, "stack", "init", stack=False)
    _pulumi(folder, "up", "--yes", "--skip-preview")
    return folder


@contextmanager
def _kit(folder: Path) -> Iterator[Path]:
    """Yields the project of a stack with one endpoint, and stops the endpoint afterwards."""
    checkout = Path(__file__).resolve().parents[1]
    declared = (checkout / "Pulumi.yaml").read_text()
    _project(folder, "from llmops_kit.infra.__main__ import main\n\nmain()\n", declared[declared.index("config:") :])
    home = folder / ".llmops" / "bench"
    try:
        entry = {"model": _add_version(home), "gate": "waived"}
        (folder / "Pulumi.bench.yaml").write_text(json.dumps({"config": {"llmops:endpoints": {"chatbot": entry}}}))
        _pulumi(folder, "up", "--yes", "--skip-preview")
        yield folder
    finally:
        Host(home / "hosting").shutdown()


def _add_version(home: Path) -> str:
    incoming = copy_model(tiny_model(), home / "store" / ".incoming")
    sha256 = sign(incoming, home / "keys" / "signing.key")
    (home / "store" / "models").mkdir()
    incoming.rename(home / "store" / model_key(sha256))
    alias = Alias.new(name="tiny", number=1, sha256=sha256, created="2026-11-25T00:00:00Z")
    alias.write(home / "store" / alias_key("tiny", 1))
    return f"tiny@1@sha256:{sha256}"


def _pulumi(folder: Path, *arguments: str, stack: bool = True) -> str:
    engine = ensure()
    environ = os.environ | engine.env
    environ |= {"PULUMI_BACKEND_URL": folder_url(folder / "state"), "PULUMI_CONFIG_PASSPHRASE": ""}
    environ |= {"PULUMI_HOME": str(folder.parent / "pulumi"), "VIRTUAL_ENV": sys.prefix}
    command = [str(engine.pulumi), *arguments, *(["--stack", "bench"] if stack else ["bench"]), "--non-interactive"]
    done = subprocess.run(command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"pulumi {' '.join(arguments)}\n{done.stdout}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
