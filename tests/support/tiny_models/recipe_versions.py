"""A tiny random version of each recipe of the kit, as a store has it after training: with the recipe's dataset version
and suites, and the chat template that it brings.
"""

from pathlib import Path

from llmops_kit.cli.data.build import build_dataset
from llmops_kit.cli.interfaces.platform import Platform
from llmops_kit.core.documents.model import Lineage, ModelManifest
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.run import Pinned
from llmops_kit.core.integrity.digest import file_entries
from llmops_kit.core.layout import MANIFEST
from tests.support.checkout import CHECKOUT
from tests.support.tiny_models.models import copy_model, tiny_model

RECIPES = ("chatbot", "chatbot-tf", "assistant", "translation")


def put_recipe_versions(platform: Platform, work: Path) -> list[str]:
    """Returns the aliases of the versions, in the order of `RECIPES`; all have the same weights.

    Args:
        platform: of the store; it signs them.
        work: an empty folder.
    """
    return [_put(platform, name, work / name) for name in RECIPES]


def _put(platform: Platform, name: str, work: Path) -> str:
    recipe = Recipe.load(CHECKOUT / f"recipes/{name}.yaml")
    dataset = work / "dataset"
    sha256 = build_dataset(recipe, CHECKOUT / "recipes", dataset, collected=work / "collected")
    platform.store().put_dataset(dataset)
    version = copy_model(tiny_model(), work / "version")
    if template := recipe.base_model.chat_template:
        (version / "chat_template.jinja").write_bytes((CHECKOUT / "recipes" / template).read_bytes())
    (version / MANIFEST).rename(work / MANIFEST)
    changes = {
        "name": name,
        "files": file_entries(version),
        "lineage": Lineage(run="run-1", dataset=Pinned(name=name, sha256=sha256)),
        "evaluated": recipe.evaluation,
        "serving": recipe.serving,
        "page": recipe.page,
    }
    ModelManifest.load(work / MANIFEST).model_copy(update=changes).write(version / MANIFEST)
    return platform.store().put_model(version, platform.sign).alias
