"""Converts rows of translations into conversations, in the form in which the model is asked."""

from collections.abc import Sequence
from pathlib import Path

from llmops_kit.core.documents.recipe_training import TranslationTask
from llmops_kit.core.errors import RunError
from llmops_kit.training.data.rows import Row, read_rows
from llmops_kit.training.data.turns import Turn


def require_pairs(tasks: Sequence[TranslationTask], rows: Path) -> None:
    """Refuses tasks for which no row has both languages; reads until each has one.

    Args:
        tasks: the recipe's `training.translations`.
        rows: the file of split `train`.

    Raises:
        RunError: naming the task.
    """
    left = {tuple(task.languages): number for number, task in enumerate(tasks)}
    for _, row in read_rows(rows) if left else ():
        left = {pair: number for pair, number in left.items() if any(side not in row.translation for side in pair)}
        if not left:
            return
    for (source, target), number in left.items():
        raise RunError(
            f"no row to train has a text in {source} and one in {target}",
            where=f"training.translations.{number}",
            fix="add a source of such pairs under data.sources, or remove the task",
        )


def as_conversation(row: Row, languages: Sequence[str], prompt: str) -> Row | None:
    """Returns a conversation with a row's text in one language in the prompt, and its text in another one as the
    answer.

    Args:
        row: of any kind.
        languages: from and to.
        prompt: `{text}` in it is replaced by the text; empty: `Translate from en to de:`, and the text.

    Returns:
        The conversation, with the row's metadata; None if it lacks a text in one of the languages.
    """
    if any(language not in row.translation for language in languages):
        return None
    source, target = languages
    template = prompt or f"Translate from {source} to {target}:\n\n{{text}}"
    asked = Turn(role="user", content=template.replace("{text}", row.translation[source]))
    answer = Turn(role="assistant", content=row.translation[target])
    return Row(messages=[asked, answer], metadata=row.metadata)
