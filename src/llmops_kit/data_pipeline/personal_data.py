"""Finds personal data by pattern and check digit: presidio's recognizers, without a language model."""

from collections.abc import Collection
from functools import cached_property
from typing import Any

from llmops_kit.core.documents.recipe_prepare import PiiEntity
from llmops_kit.data_pipeline.found import FoundText

_MIN_SCORE = 0.4
"""Score below which presidio's patterns are weak, such as any nine digits; they need words nearby, which patterns don't
see.
"""
_RECOGNIZERS: dict[PiiEntity, str] = {
    "CREDIT_CARD": "CreditCardRecognizer",
    "CRYPTO": "CryptoRecognizer",
    "EMAIL_ADDRESS": "EmailRecognizer",
    "IBAN_CODE": "IbanRecognizer",
    "IP_ADDRESS": "IpRecognizer",
    "MAC_ADDRESS": "MacAddressRecognizer",
    "PHONE_NUMBER": "PhoneRecognizer",
    "US_SSN": "UsSsnRecognizer",
}
# A search runs only if a text can contain the kind: most texts contain none, and phone numbers take 2 ms per text.
_DIGITS = frozenset("0123456789")


class PersonalData:
    """Finds kinds of personal data."""

    def __init__(self, entities: Collection[PiiEntity]) -> None:
        self._entities = sorted(entities)

    @cached_property
    def _engine(self) -> Any:
        """Presidio, which takes seconds to import; created for the first text that may contain something."""
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, predefined_recognizers
        from presidio_analyzer.nlp_engine import NoOpNlpEngine

        _keep_off_the_network()
        recognizers = [getattr(predefined_recognizers, _RECOGNIZERS[entity])() for entity in self._entities]
        return AnalyzerEngine(
            registry=RecognizerRegistry(recognizers=recognizers),
            nlp_engine=NoOpNlpEngine(models=[{"lang_code": "en", "model_name": "none"}]),
            supported_languages=["en"],  # the recognizers' own label; their patterns don't depend on a language
        )

    def find(self, text: str) -> list[FoundText]:
        """Returns the ranges of a text with personal data, by entity; they may overlap."""
        digits = sum(map(text.count, _DIGITS))
        wanted = [entity for entity in self._entities if _may_hold(entity, text, digits)]
        if not wanted:
            return []
        results = self._engine.analyze(text=text, language="en", entities=wanted, score_threshold=_MIN_SCORE)
        return [FoundText(each.start, each.end, each.entity_type) for each in results]


def _may_hold(entity: str, text: str, digits: int) -> bool:
    if entity == "EMAIL_ADDRESS":
        return "@" in text
    if entity in ("IP_ADDRESS", "MAC_ADDRESS"):
        return ":" in text or (digits >= 4 and text.count(".") >= 3) or text.count("-") >= 5
    return digits >= {"PHONE_NUMBER": 7, "US_SSN": 9, "CREDIT_CARD": 12, "IBAN_CODE": 6}.get(entity, 1)


def _keep_off_the_network() -> None:
    """Makes tldextract, which checks hosts of addresses, use its packaged list of suffixes instead of fetching one."""
    import tldextract
    from tldextract import tldextract as module

    module.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    tldextract.extract = module.extract = module.TLD_EXTRACTOR.__call__  # type: ignore[assignment]
