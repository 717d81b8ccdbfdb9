"""Rules for single rows, whose results don't depend on process or order."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from llmops_kit.core.documents.recipe_data import Data
from llmops_kit.core.documents.recipe_prepare import Action
from llmops_kit.core.errors import DataError
from llmops_kit.core.words import fold, words_of
from llmops_kit.data_pipeline import pairs, quality
from llmops_kit.data_pipeline.found import FoundText, redacted
from llmops_kit.data_pipeline.readers import jsons
from llmops_kit.data_pipeline.texts import changed, prose_of, texts_of
from llmops_kit.training.data.rows import Row, asked_words, group_of, prompt_of, row_of

_SHOWN = 160  # characters of an example


class Examined(NamedTuple):
    """The result of the rules for a row.

    Attributes:
        fault: why it can't be used at all; empty if it can.
        fault_where: the row's location, and its field.
        fix: the fix for the fault.
        reason: why it is dropped; empty if it is kept.
        example: its beginning, or that of its fault, without the personal data and secrets found in it.
        redacted: kinds of the replaced texts, sorted.
        language: its language; empty if not requested, or unknown.
        tokens: its number of tokens; 0 if they are not counted.
        prompt: digest of its prompt.
        asked: digest of the prompt's words.
        answers: digest of the answers that it teaches.
        group: digest of its group, by which groups are drawn; empty without one.
        label: the group's name, truncated.
        phrasing: digest of its prompt in its group, by which `rephrased` draws; empty if nothing is drawn.
        kind: `Row.kind`.
        line: the row as one canonical JSON line, after redaction.
        words: its folded words, separated by spaces; empty unless rows are compared by them.
    """

    fault: str = ""
    fault_where: str = ""
    fix: str = ""
    reason: str = ""
    example: str = ""
    redacted: str = ""
    language: str = ""
    tokens: int = 0
    prompt: bytes = b""
    asked: bytes = b""
    answers: bytes = b""
    group: bytes = b""
    label: str = ""
    phrasing: bytes = b""
    kind: str = ""
    line: str = ""
    words: str = ""


class RowRules:
    """A recipe's rules for single rows. Libraries are imported only for the rules that are set."""

    def __init__(self, data: Data, tokenizer: Path | None = None, ner: Path | None = None) -> None:
        wanted = data.prepare
        self._data, self._wanted = data, wanted
        self._languages = self._personal = self._secrets = self._tokenizer = self._ner = None
        self._actions: dict[str, Action] = {**wanted.pii}
        if wanted.languages or (wanted.pairs and wanted.pairs.languages):
            from llmops_kit.data_pipeline.languages import Languages

            self._languages = Languages()
        if wanted.pii:
            from llmops_kit.data_pipeline.personal_data import PersonalData

            self._personal = PersonalData(wanted.pii)
        if ner and wanted.ner:
            from llmops_kit.data_pipeline.named_entities import NamedEntityModel

            self._ner = NamedEntityModel(ner, wanted.ner)
            for kind, action in self._ner.actions.items():
                self._actions[kind] = "drop" if self._actions.get(kind) == "drop" else action
        if wanted.secrets != "off":
            from llmops_kit.data_pipeline.secrets_found import Secrets

            self._secrets = Secrets()
        if tokenizer:
            self._tokenizer = load_tokenizer(tokenizer)
        self._compares = bool(wanted.near_duplicates or wanted.overlap_words)

    def examine_all(
        self,
        lines: Iterable[str],
        places: Iterable[str],
        faults: Iterable[DataError | None],
        dropped: Iterable[str],
    ) -> list[Examined]:
        """Applies the rules to rows in columns, as `ReadRows` has them."""
        rows = zip(lines, places, faults, dropped, strict=True)
        return [self.fault(fault) if fault else self.examine(line, where, why) for line, where, fault, why in rows]

    def examine(self, line: str, where: str, dropped: str = "") -> Examined:
        """Applies the rules to a row's JSON.

        Args:
            where: names the row in errors.
            dropped: why its reader leaves it out. Such a row is dropped whether or not it could be used.
        """
        parsed = jsons.parse_row(line, where)
        try:
            if parsed.row is None:
                raise parsed.fault or DataError("holds no row", where=where)
            row = row_of(parsed.row, where)
        except DataError as e:
            unusable = self.fault(e)
            return Examined(reason=dropped, example=unusable.example) if dropped else unusable
        found = self._find(row)
        kinds, masked, reason = self._redacted(row, found, where) if found else ([], row, "")
        reason = dropped or reason
        if not reason:
            row = masked
        prose = prose_of(row)
        language = self._languages.of(prose) if self._languages and self._wanted.languages else ""
        if reason := reason or self._reason(row, prose, language):
            return Examined(reason=reason, example=shown(prose_of(masked)), language=language)
        return self._with_keys(row, prose, " ".join(kinds), language)

    def fault(self, error: DataError) -> Examined:
        """Returns the result for a row that can't be used; redacts the error, which quotes from the row."""
        example = shown(redacted(error.what, self._find_in(error.what)))
        return Examined(fault=error.what, fault_where=error.where, fix=error.fix, example=example)

    def _find(self, row: Row) -> dict[str, list[FoundText]]:
        """Returns text -> the personal data and secrets in it, for texts that contain some."""
        if not (self._secrets or self._personal or self._ner):
            return {}
        found = {text: self._find_in(text) for text in set(texts_of(row)) if text}
        return {text: several for text, several in found.items() if several}

    def _find_in(self, text: str) -> list[FoundText]:
        return [*self._find_pattern(text), *(self._ner.find(text) if self._ner else ())]

    def _find_pattern(self, text: str) -> list[FoundText]:
        return [found for finder in (self._secrets, self._personal) if finder for found in finder.find(text)]

    def _redacted(self, row: Row, found: dict[str, list[FoundText]], where: str) -> tuple[list[str], Row, str]:
        """Returns the kinds of what was found in a row, sorted; the row without it; and why it is dropped, if it is."""
        masked = changed(row, lambda text: redacted(text, found.get(text, [])))
        kinds = sorted({each.kind for several in found.values() for each in several})
        return kinds, masked, self._forbidden(kinds) or self._not_redacted(masked, found, where)

    def _forbidden(self, kinds: list[str]) -> str:
        for kind in kinds:
            if kind in self._actions:
                if self._actions[kind] == "drop":
                    return f"personal data: {kind}"
            elif self._wanted.secrets == "drop":
                return f"secret: {kind}"
        return ""

    def _not_redacted(self, masked: Row, found: dict[str, list[FoundText]], where: str) -> str:
        """Returns why a row can't be used after redaction: its `expect` or its answers may have been replaced, or a
        text can't be; empty if it can.
        """
        try:
            again = row_of(json.loads(masked.to_line()), where)
        except DataError:
            return "can't be used once it is redacted"
        # The NER model does not run again: its findings depend on the text around them, which has changed.
        left = {each.kind for text in texts_of(again) for each in found.get(text) or self._find_pattern(text)}
        return f"can't be redacted: {min(left)}" if left else ""

    def _reason(self, row: Row, prose: str, language: str) -> str:
        if characters(row) > self._data.max_characters:
            return f"longer than {self._data.max_characters} characters"
        # A pair is in two languages: `pairs` judges each side.
        if self._wanted.languages and row.kind != "translation" and language not in self._wanted.languages:
            return f"language: {language or 'unknown'}"
        if self._wanted.quality and (fault := quality.fault_of(prose, self._wanted.quality)):
            return f"quality: {fault}"
        if self._wanted.pairs and row.kind == "translation":
            language_of = self._languages.of if self._languages else lambda _: ""
            return pairs.fault_of(row.translation, self._wanted.pairs, language_of)
        return ""

    def _with_keys(self, row: Row, prose: str, redacted: str, language: str) -> Examined:
        split = self._data.split
        prompt = prompt_of(row)
        asked = asked_words(prompt)
        prompt_digest = digest(prompt)
        group = group_of(row, split.group) if split.group else asked  # as group_of would compute again
        return Examined(
            redacted=redacted,
            language=language,
            tokens=len(self._tokenizer.encode(prose, add_special_tokens=False).ids) if self._tokenizer else 0,
            prompt=prompt_digest,
            asked=prompt_digest if asked == prompt else digest(asked),
            answers=_answers_digest(row),
            group=digest(f"{split.seed}\0{group}") if group else b"",
            label=group[:80],
            phrasing=digest(f"{split.seed}\0{group}\0{prompt}") if split.rephrased else b"",
            kind=row.kind,
            line=row.to_line(),
            words=self._words(row, prose, prompt, asked),
        )

    def _words(self, row: Row, prose: str, prompt: str, asked: str) -> str:
        if not self._compares:
            return ""
        if row.kind == "text" and prompt.isascii():
            return asked  # as words_of would compute again
        return " ".join(words_of(prose))


def digest(text: str) -> bytes:
    """Returns 16 bytes that identify a text, and order texts at random."""
    return hashlib.sha256(text.encode()).digest()[:16]


_NO_ANSWERS = digest("[]")


def shown(text: str) -> str:
    """Returns the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def characters(row: Row) -> int:
    """Returns the number of characters of a row's texts, as counted by `data.max_characters`."""
    if row.kind == "text":
        return len(row.text)
    texts = [turn.content for turn in (*row.messages, *row.chosen, *row.rejected)]
    return sum(map(len, (*texts, row.text, *row.translation.values())))


def _answers_digest(row: Row) -> bytes:
    """Returns the digest of the folded answers that a row teaches: two rows with equal prompts and answers are
    duplicates.
    """
    turns = [turn.to_dict() for turn in (*(row.chosen or row.messages)[-1:], *row.rejected)]
    return _NO_ANSWERS if not turns else digest(fold(json.dumps(turns, sort_keys=True, ensure_ascii=False)))


def load_tokenizer(path: Path) -> Any:
    """Returns a tokenizer of Hugging Face's tokenizers.

    Raises:
        DataError: the file does not exist, or is not a tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as e:  # tokenizers raises nothing narrower
        what, fix = (
            f"is not a tokenizer: {e}"[:200],
            "give the tokenizer.json of the base model in data.prepare.tokenizer",
        )
        raise DataError(what, where=str(path), fix=fix) from None
