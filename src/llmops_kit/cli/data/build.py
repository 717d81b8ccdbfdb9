"""Builds a dataset version: collects a recipe's sources, and prepares them."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from llmops_kit.cli.data.collect import collect, require_collected
from llmops_kit.cli.data.preparing import ON_THIS_MACHINE, Workers, prepare_in_image
from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.errors import KitError
from llmops_kit.data_pipeline.prepare import prepare


def no_secrets(name: str) -> str:
    """Raises KitError for every secret; for recipes whose sources need no token.

    Raises:
        KitError: always, with the fix.
    """
    raise KitError("there is no stack to get the secret from", where=f"secret:{name}", fix="name one with --stack")


def no_models(alias: str) -> Path:
    """Raises KitError for every model version; for recipes that are prepared without a stack.

    Raises:
        KitError: always, with the fix.
    """
    raise KitError("there is no stack to get the model from", where=alias, fix="name one with --stack")


def ner_folder(platform: Platform, alias: str, say: Say) -> Path:
    """Returns the folder of the version that `data.prepare.ner` names, after checking its signature and files.

    Raises:
        KitError: it is not in the store, or is not a model for token classification.
        IntegrityError: it was changed, or the stack did not sign it.
    """
    store, key = platform.store(), platform.outputs.signing.public_key
    ref = store.find(alias)
    store.signed_manifest(ref, key).require_task(f"data.prepare.ner.model: {alias}", "token-classification")
    return store.verified_folder(ref, key, say)


def build_dataset(
    recipe: Recipe,
    recipe_folder: Path,
    target: Path,
    *,
    collected: Path | None = None,
    fetch: bool = True,
    secret: Callable[[str], str] = no_secrets,
    model: Callable[[str], Path] = no_models,
    workers: Workers = ON_THIS_MACHINE,
    say: Callable[[str], None] = lambda _: None,
) -> str:
    """Collects and prepares a dataset version.

    Args:
        recipe_folder: the recipe's paths are relative to it.
        target: the dataset version's folder; must not exist. It appears whole or not at all.
        collected: keeps fetched files for the next call, and beside it the stages of preparing; None: keeps nothing.
        fetch: False: uses the files in `collected`, and contacts no source.
        secret: returns a secret's value by its name.
        model: returns the folder of a model version by its alias, after checking its signature and files.
        workers: used by recipes that set a part of `data.prepare`.
        say: called with the progress of fetching, and of preparing in the image.

    Returns:
        The version's identity: the manifest's SHA-256.

    Raises:
        DataError: a source or a row can't be used, with file, line and fix.
        IntegrityError: a file is hostile or damaged.
        KitError: a source can't be reached; or, without `fetch`, was not collected.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".dataset-") as work:
        folder = collected or Path(work, "collected")
        if fetch:
            collect(recipe.data.sources, recipe_folder, folder, secret=secret, say=say)
        else:
            require_collected(recipe.data.sources, folder)
        if recipe.data.prepare.is_off:
            return prepare(recipe, recipe_folder, folder, target)
        stages = folder.with_name(f"{folder.name}.stages")
        ner = model(recipe.data.prepare.ner.model) if recipe.data.prepare.ner else None
        return prepare_in_image(recipe, recipe_folder, folder, target, stages, workers, ner, say)
