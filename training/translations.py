"""Rows of translations as conversations, in the form in which the model is asked."""

from collections.abc import Sequence

from training.rows import Row
from training.turns import Turn


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
