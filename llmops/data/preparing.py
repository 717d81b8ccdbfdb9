"""Preparing in the image `preparation`: a process of its own, whose libraries the command line does without."""

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract import errors
from contract.documents.recipe import Recipe
from contract.errors import KitError

_LAST_LINES = 15


@dataclass(frozen=True)
class Workers:
    """Where rows are worked on; the dataset version is the same everywhere.

    Attributes:
        count: processes; 0: one for each processor.
        ray: a Ray cluster's address; empty: this machine.
    """

    count: int = 0
    ray: str = ""


ON_THIS_MACHINE = Workers()


def prepare_in_image(
    recipe: Recipe,
    recipe_folder: Path,
    collected: Path,
    target: Path,
    stages: Path,
    workers: Workers,
    say: Callable[[str], None],
) -> str:
    """Build the image unless it is there, and prepare in it.

    Args:
        recipe_folder: what the recipe's paths are relative to.
        collected: the folder that `collect` filled.
        target: the dataset version's folder; must not exist.
        stages: keeps finished stages: a repeated call goes on after them.
        workers: where rows are worked on.
        say: told each step.

    Returns:
        The version's identity.

    Raises:
        KitError: as `preparation.prepare` raised it; or the process died.
    """
    from hosting import images
    from hosting.files import locked

    image = images.find(images.build("preparation-ray" if workers.ray else "preparation", say))
    busy = "another process prepares this data; waiting"
    with (
        locked(stages.with_name(f"{stages.name}.lock"), say, busy),
        tempfile.TemporaryDirectory(prefix="llmops-preparation-") as temporary,
    ):
        root = Path(temporary)
        recipe.write(root / "recipe.json")
        log = root / "stderr"
        paths = (root / "recipe.json", collected, target, "--root", recipe_folder, "--work", stages)
        command = [str(image.python), "-m", "preparation", *(str(_absolute(each)) for each in paths)]
        command += ["--workers", str(workers.count)] if workers.count else []
        command += ["--ray", workers.ray] if workers.ray else []
        environ = images.process_environ(image, root)
        last: dict[str, Any] = {}
        with (
            log.open("wb") as stderr,
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=environ, text=True
            ) as process,
        ):
            assert process.stdout
            try:
                for line in process.stdout:
                    if (last := _parse(line)) and "say" in last:
                        say(last["say"])
            except BaseException:
                process.kill()
                raise
        if "sha256" in last:
            return last["sha256"]
        raise _error_of(last, process.returncode, log.read_text(errors="replace"))


def _absolute(part: str | Path) -> str | Path:
    return part.resolve() if isinstance(part, Path) else part


def _parse(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:  # a library that prints
        return {}
    return found if isinstance(found, dict) else {}


def _error_of(last: dict[str, Any], code: int, log: str) -> KitError:
    kind = getattr(errors, last.get("error", ""), None)
    if isinstance(kind, type) and issubclass(kind, KitError):
        return kind(last["what"], where=last["where"], fix=last["fix"])
    lines = "\n  ".join(log.strip().splitlines()[-_LAST_LINES:])
    what = f"preparing ended with {code}" + (f":\n  {lines}" if lines else "")
    return KitError(what, where="image preparation", fix="repeat the command: it goes on after the last stage")
