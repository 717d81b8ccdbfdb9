"""Detects sentence pairs whose sides can't be translations of each other."""

import re
from collections.abc import Callable

from llmops_kit.core.documents.recipe_prepare import Pairs
from llmops_kit.core.placeholders import placeholders
from llmops_kit.core.words import fold, words_of

_MIN_WORDS = 4
"""Minimum words of a side whose language is detected: single words are often the same in two languages, or names."""


def fault_of(translation: dict[str, str], checks: Pairs, language_of: Callable[[str], str]) -> str:
    """Returns why a pair is dropped; empty if it is kept.

    Args:
        translation: language -> text.
        checks: the recipe's checks.
        language_of: returns the language of a text; empty if it is uncertain, which is not a fault.
    """
    if checks.untranslated and len({fold(text) for text in translation.values()}) < len(translation):
        return "pair: untranslated"
    lengths = sorted(map(len, translation.values()))
    if lengths[-1] > checks.max_length_ratio * max(1, lengths[0]):
        return f"pair: one side longer than {checks.max_length_ratio:g} times the other"
    if checks.placeholders:
        first, *others = (placeholders(text) for text in translation.values())
        if any(other != first for other in others):
            return "pair: placeholders differ"
    if checks.languages:
        for named, text in translation.items():
            detected = language_of(text) if len(words_of(text)) >= _MIN_WORDS else ""
            if detected and detected != re.split("[-_]", named.lower())[0]:
                return f"pair: not {named}"
    return ""
