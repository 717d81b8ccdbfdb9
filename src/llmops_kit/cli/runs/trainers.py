"""Trainers other than the training image's own code: a run's first job trains with one, its second one evaluates."""

import json
import re
from pathlib import Path

from llmops_kit.cli.importing.importing import work_folder
from llmops_kit.cli.importing.outlines import CONFIG, fetch_outline, stored_outline
from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.run import Compute, TrainerJob
from llmops_kit.core.errors import KitError
from llmops_kit.core.models.keras_families import check_family
from llmops_kit.core.names import ModelRef

_TENSORFLOW = "training-tensorflow"
_KERAS_COMMAND = ["python", "-m", "llmops_kit.training.keras_trainer"]
_FOLDER, _PROCESS = "folder:", "process:"
_PACKAGE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def find_trainer(platform: Platform, recipe: Recipe, recipe_path: Path, say: Say) -> TrainerJob | None:
    """Prepares the image of a recipe's trainer; the same files give the same image.

    Args:
        platform: the stack in operation.
        recipe: may name a folder, which becomes an image of this machine.
        recipe_path: a folder is relative to its file.
        say: called with each step of building an image.

    Returns:
        The first of the run's two jobs; None: the training image trains.

    Raises:
        KitError: the folder is not a package, or the stack's jobs are not processes.
    """
    if recipe.training.framework == "tensorflow":
        return TrainerJob(image=_tensorflow_image(platform, say), command=_KERAS_COMMAND)
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


def check_framework(platform: Platform, recipe: Recipe, recipe_path: Path, compute: Compute | None, say: Say) -> None:
    """Raises KitError for a run that the TensorFlow trainer can't train, before data and weights are fetched.

    Args:
        platform: the stack in operation.
        recipe: the content of `recipe_path`.
        recipe_path: its file; a base model's folder is relative to it.
        compute: the run's machines; None: this one.
        say: called before slow steps.

    Raises:
        KitError: the base model's family has no exporter, or the run has several hosts.
    """
    if recipe.training.framework != "tensorflow":
        return
    if compute and compute.instances > 1:
        raise KitError(
            f"the TensorFlow trainer works on one host, and this run would have {compute.instances}: Keras trains on "
            "several with wrong results (https://github.com/keras-team/keras/issues/20585)",
            where=f"{recipe_path}: training.framework",
            fix="train with `--instances 1`, or leave training.framework out, so that PyTorch trains",
        )
    with work_folder() as work:
        (work / "outline").mkdir()
        folder = fetch_outline(platform, recipe.base_model, work / "outline", say, recipe_path.parent)
        check_family(json.loads((folder / CONFIG).read_text()), f"{recipe_path}: base_model")


def check_base(platform: Platform, recipe: Recipe, base: ModelRef) -> None:
    """Raises KitError for a base model that the TensorFlow trainer can't train, if the recipe selects that trainer.

    Raises:
        KitError: its family has no exporter.
    """
    if recipe.training.framework == "tensorflow":
        with work_folder() as work:
            check_family(json.loads((stored_outline(platform, base, work) / CONFIG).read_text()), base.alias)


def _tensorflow_image(platform: Platform, say: Say) -> str:
    if platform.outputs.training.image.startswith(_PROCESS):
        from llmops_kit.local_runtime.process_images import build

        return build(_TENSORFLOW, say)
    if not platform.outputs.training.tensorflow_image:
        raise KitError(
            "the stack has no image that trains on TensorFlow",
            where="llmops:images.training_tensorflow",
            fix=f"`llmops images push {_TENSORFLOW}`, then `llmops up`; or leave training.framework out of the recipe",
        )
    return platform.outputs.training.tensorflow_image


def _built(folder: Path, where: str, say: Say) -> str:
    from llmops_kit.local_runtime.process_images import ImageSource, build

    folder = folder.resolve()
    if not folder.is_dir() or not _PACKAGE.fullmatch(folder.name):
        raise KitError(
            f"{folder} is not a folder of Python files with a package's name",
            where=where,
            fix="name a folder such as trainer/, which `python -m trainer` runs: small letters, digits, underscores",
        )
    own, name = folder / "requirements.txt", f"own-{folder.name.replace('_', '-')}"
    requirements, shares = (own, "") if own.is_file() else (ImageSource.of_kit("training").requirements, "training")
    return build(ImageSource(name, requirements, {folder.name: folder}, shares=shares), say)
