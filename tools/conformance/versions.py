"""The versions that a conformance test serves on every target, and their questions."""

from pathlib import Path
from typing import NamedTuple

from llmops_kit.cli.evaluation.models import stored_model
from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.runs.receipts import checked_dataset
from tools.conformance.questions import TEMPLATE, Question, questions_for, questions_of


class VersionUnderTest(NamedTuple):
    """A version that every target serves."""

    name: str
    """In the report: its alias, or the name of the recipe that was trained."""
    folder: Path
    questions: tuple[Question, ...]


def stored_version(platform: Platform, alias: str, say: Say) -> VersionUnderTest:
    """Returns a version of a stack's store, with the questions that its chat template allows, and rows of the suites by
    which it was evaluated.

    Args:
        platform: the stack in operation.
        alias: name@number, or name@latest.
        say: called before slow steps.

    Raises:
        NotFoundError: it is not in the store.
        IntegrityError: it was changed, or not signed by this stack.
        KitError: it generates no text, or its dataset version was changed.
    """
    store = platform.store()
    model = stored_model(platform, store.find(alias))
    folder = model.fetch(say)
    questions = questions_for((folder / TEMPLATE).read_text(encoding="utf-8"))
    evaluated, dataset = model.manifest.evaluated, model.manifest.lineage.dataset
    own = questions_of(evaluated.suites, checked_dataset(store, dataset)) if evaluated and dataset else []
    return VersionUnderTest(model.name, folder, (*questions, *own))
