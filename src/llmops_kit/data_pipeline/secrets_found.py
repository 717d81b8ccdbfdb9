"""Finds secrets in texts, by the patterns of detect-secrets. Its entropy detectors flag words in prose and are not
used.
"""

import re
from collections.abc import Iterator
from typing import Any

from llmops_kit.data_pipeline.found import FoundText

_NO_SECRETS = {"Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector", "KeywordDetector"}
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z0-9 ]*-----|\Z)", re.DOTALL)
_REST = re.compile(r"[A-Za-z0-9_.+/=-]*")  # detect-secrets' patterns need not reach the end of a token


class Secrets:
    """Finds keys, tokens and passwords. Creating one imports detect-secrets."""

    def __init__(self) -> None:
        from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
        from detect_secrets.plugins.base import RegexBasedDetector
        from detect_secrets.plugins.keyword import KeywordDetector

        classes = sorted(get_mapping_from_secret_type_to_class().values(), key=lambda each: each.__name__)
        self._detectors: list[Any] = [
            each() for each in classes if issubclass(each, RegexBasedDetector) and each.__name__ not in _NO_SECRETS
        ]
        self._keyword: Any = KeywordDetector()

    def find(self, text: str) -> list[FoundText]:
        """Returns the ranges of a text with keys, tokens and passwords; they may overlap."""
        found = [FoundText(match.start(), match.end(), "PRIVATE_KEY") for match in _KEY_BLOCK.finditer(text)]
        for detector in self._detectors:
            found += _by_patterns(detector, text)
        return found + list(self._after_keywords(text))

    def _after_keywords(self, text: str) -> Iterator[FoundText]:
        """Yields quoted values of assignments to names such as `password`, except placeholders."""
        from detect_secrets.filters import heuristic

        at = 0
        for line in text.splitlines(keepends=True):
            for value in self._keyword.analyze_string(line):
                start = line.find(value)
                if value and not (
                    heuristic.is_templated_secret(value)
                    or heuristic.is_prefixed_with_dollar_sign(value)
                    or heuristic.is_not_alphanumeric_string(value)
                ):
                    yield FoundText(at + start, at + start + len(value), "PASSWORD")
            at += len(line)


def _by_patterns(detector: Any, text: str) -> Iterator[FoundText]:
    kind = re.sub(r"[^A-Z0-9]+", "_", detector.secret_type.upper()).strip("_")
    for pattern in detector.denylist:
        for match in pattern.finditer(text):
            if kind == "BASIC_AUTH_CREDENTIALS":
                yield FoundText(match.start(1), match.end(1), kind)  # the password; the rest is an address
                continue
            rest = _REST.match(text, match.end())
            end = rest.end() if rest else match.end()
            token = text[match.start() : end].rstrip(".")
            if kind != "JSON_WEB_TOKEN" or detector.is_formally_valid(token):
                yield FoundText(match.start(), match.start() + len(token), kind)
