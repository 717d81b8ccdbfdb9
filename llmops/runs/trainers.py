"""Trainers other than the training image's own code: a run's first job trains with one, its second one evaluates."""

import re
from pathlib import Path

from contract.documents.recipe import Recipe
from contract.documents.run import TrainerJob
from contract.errors import KitError
from llmops.platforms.platform import Platform, Say

_FOLDER, _PROCESS = "folder:", "process:"
_PACKAGE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def find_trainer(platform: Platform, recipe: Recipe, recipe_path: Path, say: Say) -> TrainerJob | None:
    """Makes the image of a recipe's trainer ready; the same files give the same image.

    Args:
        platform: the stack in operation.
        recipe: may name a folder, which becomes an image of this machine.
        recipe_path: a folder is relative to its file.
        say: told each step of an image that is built.

    Returns:
        What the first of the run's two jobs runs; None: the training image trains.

    Raises:
        KitError: the folder is no package, or the stack runs no folders.
    """
    if recipe.trainer is None:
        return None
    image, where = recipe.trainer.image, f"{recipe_path}: trainer.image"
    processes = platform.outputs.training.image.startswith(_PROCESS)
    if processes and not image.startswith((_FOLDER, _PROCESS)):
        raise KitError(
            "is a container image, and this stack's jobs are processes of this machine",
            where=where,
            fix="write `folder:` and the path of its Python files, or train on a stack whose images are containers",
        )
    if image.startswith(_FOLDER):
        if not processes:
            raise KitError(
                f"{image} becomes a process of this machine, and this stack's jobs run container images",
                where=where,
                fix="build it with Docker, push it, and write its reference by digest (docs/how-to/own-trainer.md)",
            )
        image = _built(recipe_path.parent / Path(image.removeprefix(_FOLDER)).expanduser(), where, say)
    return TrainerJob(image=image, command=recipe.trainer.command)


def _built(folder: Path, where: str, say: Say) -> str:
    from hosting.images import ImageSource, build

    folder = folder.resolve()
    if not folder.is_dir() or not _PACKAGE.fullmatch(folder.name):
        raise KitError(
            f"{folder} is no folder of Python files with a package's name",
            where=where,
            fix="name a folder such as trainer/, which `python -m trainer` runs: small letters, digits, underscores",
        )
    own, name = folder / "requirements.txt", f"own-{folder.name.replace('_', '-')}"
    requirements, shares = (own, "") if own.is_file() else (ImageSource.of_kit("training").requirements, "training")
    return build(ImageSource(name, requirements, {folder.name: folder}, shares=shares), say)
