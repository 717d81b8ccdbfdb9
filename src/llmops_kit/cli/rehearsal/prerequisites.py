"""Fetches and builds a rehearsal's prerequisites before it starts, since jobs on a twin have no network."""

from pathlib import Path

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.core.documents.recipe import Recipe

_TENSORFLOW = "training-tensorflow"


def fetch_prerequisites(recipe: Recipe, path: Path, say: Say) -> Path:
    """Fetches a recipe's base model, once per machine, and its data, with this process's environment.

    Args:
        recipe: the content of `path`.
        path: the recipe's file; its paths are relative to it.
        say: told the progress.

    Returns:
        The folder of the collected data.

    Raises:
        KitError: the model or a source can't be fetched; or a source needs a token, which only a stack knows, and was
            not collected.
    """
    from llmops_kit.cli.data.build import no_secrets
    from llmops_kit.cli.data.collect import collect, default_folder, require_collected
    from llmops_kit.cli.rehearsal.base_model import base_version

    base_version(recipe, path.parent, say)
    folder, sources = default_folder(path), recipe.data.sources
    if any(source.token for source in sources):
        require_collected(sources, folder)
    else:
        collect(sources, path.parent, folder, secret=no_secrets, say=say)
    return folder


def images_of(recipe: Recipe | None) -> tuple[str, ...]:
    """Returns the images that a stack needs to train a recipe and to serve its versions; the default ones first."""
    from llmops_kit.cli.images.stack_images import NAMES

    return (*NAMES, _TENSORFLOW) if recipe and recipe.training.framework == "tensorflow" else NAMES


def build_images(recipe: Recipe | None, say: Say) -> None:
    """Builds all images that run on this machine: those of the stack, and the one that prepares data.

    Args:
        recipe: the recipe to train; None: nothing is trained.
        say: told the progress.

    Raises:
        KitError: one can't be built.
    """
    from llmops_kit.local_runtime import process_images

    prepares = () if recipe is None or recipe.data.prepare.is_off else ("preparation",)
    for name in (*images_of(recipe), *prepares):
        process_images.build(name, say)
