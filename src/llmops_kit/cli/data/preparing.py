"""Prepares data in the image `preparation`: its own process, whose libraries the command line does not need."""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmops_kit.cli.images.image_program import run_in_image
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.hashes import sha256_file
from llmops_kit.core.layout import MANIFEST

_RAY_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True)
class Workers:
    """Number and place of the processes that process rows; neither changes the dataset version.

    Attributes:
        count: number of processes; 0: one for each processor.
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
    ner: Path | None,
    say: Callable[[str], None],
) -> str:
    """Builds the image unless it exists, and prepares in it.

    Args:
        recipe_folder: the recipe's paths are relative to it.
        collected: the folder that `collect` filled.
        target: the dataset version's folder; must not exist.
        stages: keeps finished stages, after which a repeated call resumes.
        workers: the processes that process rows.
        ner: the folder of the model version that `data.prepare.ner` names, checked; None if it names none.
        say: called with a line for each step.

    Returns:
        The version's identity.

    Raises:
        KitError: that of `llmops_kit.data_pipeline.prepare`; or the process died.
    """
    from llmops_kit.local_runtime.files import locked

    busy = "another process prepares this data; waiting"
    with (
        locked(stages.with_name(f"{stages.name}.lock"), say, busy),
        tempfile.TemporaryDirectory(prefix="llmops-preparation-") as temporary,
    ):
        root = Path(temporary)
        recipe.write(root / "recipe.json")
        paths = (root / "recipe.json", collected, target, "--root", recipe_folder, "--work", stages)
        run_in_image(
            "preparation-ray" if workers.ray else "preparation",
            *(
                "-m",
                "llmops_kit.data_pipeline",
                *(each.resolve() if isinstance(each, Path) else each for each in paths),
            ),
            *(("--ner", ner.resolve()) if ner else ()),
            *(("--workers", str(workers.count)) if workers.count else ()),
            *(("--ray", workers.ray) if workers.ray else ()),
            work=root,
            say=say,
            extra=ray_credentials(os.environ, Path.home()) if workers.ray else None,
            what="preparing ended",
            fix="repeat the command: it resumes",
        )
    return sha256_file(target / MANIFEST)


def ray_credentials(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """Returns the environment variables by which Ray sends its token to a cluster: the caller's, or if they have no
    token, the file that `ray get-auth-token` writes. Enables tokens unless the caller sets RAY_AUTH_MODE
    (https://docs.ray.io/en/latest/ray-security/token-auth.html).
    """
    found = {name: environ[name] for name in ("RAY_AUTH_MODE", *_RAY_TOKENS) if name in environ}
    token = home / ".ray" / "auth_token"
    if token.is_file() and not found.keys() & set(_RAY_TOKENS):
        found["RAY_AUTH_TOKEN_PATH"] = str(token)
    return {"RAY_AUTH_MODE": "token", **found} if found else {}
