"""Chooses and checks the recipe of a rehearsal, and the question for its version."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmops_kit.cli.stacks.project import Project
from llmops_kit.core.documents.model import Golden, ModelManifest
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.core.errors import KitError
from llmops_kit.training.models.golden import ANY_ANSWER

RECIPE = "recipes/rehearsal.yaml"
"""The default: the smallest recipe that has a measurable effect."""
_LEAST_CHECKPOINTS = 3


def find_recipe(project: Project, path: Path, live: bool) -> str:
    """Returns a recipe's path in the project, of which a rehearsal uses a copy.

    Args:
        project: the caller's.
        path: the recipe's file.
        live: whether the rehearsal is on an account, and so reaches the network.

    Raises:
        KitError: it is not in the project, or requires something that a rehearsal can't do.
    """
    folder = project.folder.resolve()
    if not path.is_file():
        raise KitError(
            "the rehearsal's recipe is missing", where=str(path), fix="copy it from the kit, and its data; or name "
            "another one by --recipe"
        )  # fmt: skip
    if not path.resolve().is_relative_to(folder):
        fix = "put it into the project, such as into recipes/"
        raise KitError("is not in the project's folder, which a rehearsal copies", where=str(path), fix=fix)
    recipe = Recipe.load(path)
    if reason := _unsupported(recipe, live):
        raise KitError(f"a rehearsal can't use it: {reason[0]}", where=f"{path}: {reason[1]}", fix=reason[2])
    return path.resolve().relative_to(folder).as_posix()


def shorten(project: Path, recipe: str, most_steps: int) -> None:
    """Replaces a linked recipe by one that trains few steps; links the files beside it, which it may name.

    Args:
        project: a folder of links to the files of a project (`Project.link_into`), changed in place.
        recipe: the recipe's path in it.
        most_steps: optimizer steps; a recipe whose `max_steps` are fewer keeps those.
    """
    folder = project
    for part in Path(recipe).parts[:-1]:
        folder /= part
        linked = folder.resolve()
        folder.unlink()
        folder.mkdir()
        for path in linked.iterdir():
            (folder / path.name).symlink_to(path)
    path = project / recipe
    found = Recipe.load(path)
    path.unlink()
    found.model_copy(update={"training": shortened(found.training, most_steps)}).write(path)


def shortened(training: TrainingRecipe, most_steps: int) -> TrainingRecipe:
    """Returns a recipe's training with at most so many optimizer steps, and checkpoints within them."""
    steps = min(most_steps, training.max_steps or most_steps)
    changed = {
        "max_steps": steps,
        "epochs": 1,
        "warmup_steps": min(training.warmup_steps, steps),
        # The machine is reclaimed at the first checkpoint, after which some steps must remain.
        "checkpoint_steps": min(training.checkpoint_steps, max(1, steps // _LEAST_CHECKPOINTS)),
    }
    return training.model_copy(update=changed)


def question_of(manifest: ModelManifest) -> Golden:
    """Returns the golden prompt that a rehearsal asks: the first one of a single question with a known answer.

    Without one, a question to which any answer is right.
    """
    for golden in manifest.golden:
        if golden.is_telling and sum(message.role != "system" for message in golden.messages) == 1:
            return golden
    return ANY_ANSWER


def is_right(golden: Golden, message: Mapping[str, Any]) -> bool:
    """Returns whether an answer, a message of OpenAI's form, holds what is expected of it or makes the calls; without
    either, whether there is an answer.
    """
    if golden.calls:
        made = (each["function"] for each in message.get("tool_calls") or ())
        return golden.is_called_by([(each["name"], each["arguments"]) for each in made])
    answer = (message.get("content") or "").casefold()
    return bool(answer) and all(any(a.casefold() in answer for a in each.split("|")) for each in golden.expect)


def in_words(message: Mapping[str, Any]) -> str:
    """Returns an answer's text and calls, a line each."""
    calls = (f"{each['function']['name']} {each['function']['arguments']}" for each in message.get("tool_calls") or ())
    return "\n".join(filter(None, ((message.get("content") or "").strip(), *calls)))


def _unsupported(recipe: Recipe, live: bool) -> tuple[str, str, str] | None:
    """Returns the reason, key and fix of the first unsupported part; None if a rehearsal can run the recipe."""
    new = "its store is new and has no model yet"
    if recipe.base_model.source.startswith("store:"):
        return new, "base_model.source", "name its source: hub:, folder: or package:"
    if recipe.data.prepare.ner:
        return new, "data.prepare.ner", "remove it from a copy of the recipe"
    for suite in recipe.evaluation.suites:
        where, fix = f"evaluation.suites: {suite.name}", "remove the suite and its gate from a copy of the recipe"
        if suite.comet:
            return new, where, fix
        if suite.judge and not live:
            return "it has no network, so it can't reach a judge", where, fix
    if recipe.trainer:
        reason = "it interrupts jobs at a checkpoint, and does not know your own trainer's checkpoints"
        return reason, "trainer", "train once on the twin: `llmops twin aws up`, `llmops train` (docs/twin.md)"
    return None
