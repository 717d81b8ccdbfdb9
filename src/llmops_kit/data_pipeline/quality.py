"""Gopher's rules for text of low quality (Rae et al. 2021, https://arxiv.org/abs/2112.11446, appendix A.1.1)."""

import re
from collections import Counter
from collections.abc import Sequence

from llmops_kit.core.documents.recipe_prepare import TextQuality

_STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_ELLIPSES = ("...", "…")
_BULLETS = ("-", "*", "•", "●", "‣", "◦")  # fmt: skip
_PARAGRAPH = re.compile(r"\n{2,}")
# Table A1: maximum shares of repeated text.
_DUPLICATE_LINES, _DUPLICATE_LINE_CHARACTERS = 0.30, 0.20
_TOP_NGRAM = {2: 0.20, 3: 0.18, 4: 0.16}
_DUPLICATE_NGRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


def fault_of(text: str, limits: TextQuality) -> str:
    """Returns why a text is dropped, the first limit that it exceeds; empty if it is kept."""
    words = text.split()
    return (
        _of_words(words, limits) or _of_lines(text, limits) or (_repetition(text, words) if limits.repetition else "")
    )


def _of_words(words: Sequence[str], limits: TextQuality) -> str:
    count = len(words)
    if count < limits.min_words:
        return f"fewer than {limits.min_words} words"
    if count > limits.max_words:
        return f"more than {limits.max_words} words"
    if not count:
        return ""
    mean = sum(map(len, words)) / count
    if not limits.min_word_length <= mean <= limits.max_word_length:
        return f"mean word length not {limits.min_word_length:g} to {limits.max_word_length:g}"
    if sum(any(c.isalpha() for c in word) for word in words) < limits.min_alphabetic_words * count:
        return f"words with letters below {limits.min_alphabetic_words:g}"
    if len(_STOP_WORDS & {word.lower().strip(".,;:!?\"'()") for word in words}) < limits.min_stop_words:
        return f"fewer than {limits.min_stop_words} stop words"
    return ""


def _of_lines(text: str, limits: TextQuality) -> str:
    symbols = text.count("#") + sum(text.count(each) for each in _ELLIPSES)
    if symbols > limits.max_symbols * max(1, len(text.split())):
        return f"symbols above {limits.max_symbols:g}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if sum(line.startswith(_BULLETS) for line in lines) > limits.max_bullet_lines * len(lines):
        return f"bullet lines above {limits.max_bullet_lines:g}"
    if sum(line.endswith(_ELLIPSES) for line in lines) > limits.max_ellipsis_lines * len(lines):
        return f"ellipsis lines above {limits.max_ellipsis_lines:g}"
    return ""


def _repetition(text: str, words: Sequence[str]) -> str:
    pieces = (("lines", text.splitlines()), ("paragraphs", _PARAGRAPH.split(text)))
    for name, parts in pieces:
        kept = [part.strip() for part in parts if part.strip()]
        again = [part for part, times in Counter(kept).items() for _ in range(times - 1)]
        if len(again) > _DUPLICATE_LINES * len(kept):
            return f"repeated {name}"
        if sum(map(len, again)) > _DUPLICATE_LINE_CHARACTERS * sum(map(len, kept)):
            return f"characters in repeated {name}"
    total = sum(map(len, words))
    for size, limit in _TOP_NGRAM.items():
        top, times = Counter(_ngrams(words, size)).most_common(1)[0] if len(words) >= size else ((), 0)
        if times > 1 and sum(map(len, top)) * times > limit * total:
            return f"one {size}-gram repeated"
    for size, limit in _DUPLICATE_NGRAMS.items():
        if _repeated_characters(words, size) > limit * total:
            return f"repeated {size}-grams"
    return ""


def _ngrams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(size)), strict=False))


def _repeated_characters(words: Sequence[str], size: int) -> int:
    """Returns the number of characters of words in n-grams that occurred before; overlapping n-grams count once."""
    seen: set[tuple[str, ...]] = set()
    covered = [False] * len(words)
    for start, ngram in enumerate(_ngrams(words, size)):
        if ngram in seen:
            covered[start : start + size] = [True] * size
        seen.add(ngram)
    return sum(len(word) for word, is_covered in zip(words, covered, strict=True) if is_covered)
