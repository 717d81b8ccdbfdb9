"""The recipe of a rehearsal: which one, and whether a rehearsal can show with it what it shows."""

from pathlib import Path

from contract.documents.model import Golden, ModelManifest
from contract.documents.recipe import Recipe
from contract.errors import KitError
from llmops.data.sources import kind_of
from llmops.stacks.project import Project
from training.scoring import HOLDING_EXPECTED

RECIPE = "recipes/rehearsal.yaml"
"""The smallest recipe that teaches, by default."""
_OF_THIS_MACHINE = ("path", "folder")


def find_recipe(project: Project, path: Path, live: bool) -> str:
    """Returns a recipe's path in the project, of which a rehearsal uses a copy.

    Args:
        project: the caller's.
        path: the recipe's file.
        live: whether the rehearsal is on an account, and so reaches the network.

    Raises:
        KitError: it is not the project's, or has what a rehearsal can't do; with the fix.
    """
    folder = project.folder.resolve()
    if not path.is_file():
        raise KitError(
            "there is no recipe for the rehearsal", where=str(path), fix="copy it from the kit, and its data; or name "
            "another one by --recipe"
        )  # fmt: skip
    if not path.resolve().is_relative_to(folder):
        fix = "put it into the project, such as into recipes/"
        raise KitError("is not in the project's folder, which a rehearsal copies", where=str(path), fix=fix)
    recipe = Recipe.load(path)
    if reason := _what_it_can_not_do(recipe, live):
        raise KitError(f"a rehearsal can't use it: {reason[0]}", where=f"{path}: {reason[1]}", fix=reason[2])
    return path.resolve().relative_to(folder).as_posix()


def question_of(manifest: ModelManifest) -> Golden:
    """Returns a version's first golden prompt that is one question with expected words.

    Raises:
        KitError: it has none.
    """
    for golden in manifest.golden:
        if golden.expect and sum(message.role != "system" for message in golden.messages) == 1:
            return golden
    raise KitError(
        "has no golden prompt of one question with expected words, so nothing tells it from a worse one",
        where=manifest.name,
        fix="train until some questions without tools, of a suite with expected words, are answered rightly",
    )


def _what_it_can_not_do(recipe: Recipe, live: bool) -> tuple[str, str, str] | None:
    """Returns a reason, the key and the fix."""
    if recipe.base_model.source.startswith("store:"):
        fix = "name its source: hub:, folder: or package:"
        return "its store is new, and holds no model yet", "base_model.source", fix
    if not any(suite.metric in HOLDING_EXPECTED for suite in recipe.evaluation.suites):
        words = ", ".join(HOLDING_EXPECTED)
        fix = (
            f"add a suite of metric {words}; of rows without tools that have `expect`, or a translation, golden "
            "prompts are made"
        )
        return "no suite has expected words, by which a worse version is found", "evaluation.suites", fix
    if not live:
        fetched = [source.source for source in recipe.data.sources if kind_of(source) not in _OF_THIS_MACHINE]
        if fetched:
            fix = "`llmops data collect` the recipe, and name the files; or rehearse with --live"
            return f"it reaches no network, from which {fetched[0]} comes", "data.sources", fix
        for suite in recipe.evaluation.suites:
            if suite.judged:
                return f"it reaches no judge for the suite {suite.name}", "evaluation.suites", "take the suite out"
    return None
