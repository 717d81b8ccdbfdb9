"""A recipe's section `data.prepare`: filters and redaction of rows; all off unless set."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from llmops_kit.core.document import Part

Action = Literal["drop", "redact"]
PiiEntity = Literal[
    "CREDIT_CARD", "CRYPTO", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "MAC_ADDRESS", "PHONE_NUMBER", "US_SSN"
]
"""Presidio's names of entities that patterns and check digits find."""
_ALL: tuple[PiiEntity, ...] = (
    "CREDIT_CARD", "CRYPTO", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "MAC_ADDRESS", "PHONE_NUMBER", "US_SSN",
)  # fmt: skip
MODEL_PATTERN = r"^[a-z][a-z0-9-]*@([1-9][0-9]*(@sha256:[0-9a-f]{64})?|latest)$"
"""What `Store.find` takes."""
Share = Annotated[float, Field(ge=0, le=1)]


def _for_each(value: Any) -> Any:
    if value in ("drop", "redact"):
        return dict.fromkeys(_ALL, value)
    return {} if value == "off" else value


class TextQuality(Part):
    """Limits of a row's text. The defaults are Gopher's (Rae et al. 2021, table A1), which fit English web pages."""

    min_words: int = Field(default=50, ge=0)
    max_words: int = Field(default=100_000, ge=1)
    min_word_length: float = Field(default=3, ge=0, description="Mean characters of a word.")
    max_word_length: float = Field(default=10, ge=1, description="Mean characters of a word.")
    max_symbols: float = Field(default=0.1, ge=0, description="`#` and ellipses for each word.")
    max_bullet_lines: Share = Field(default=0.9, description="Share of lines that begin with a bullet.")
    max_ellipsis_lines: Share = Field(default=0.3, description="Share of lines that end with an ellipsis.")
    min_alphabetic_words: Share = Field(default=0.8, description="Share of words with a letter.")
    min_stop_words: int = Field(
        default=2, ge=0, le=8, description="Different words among the, be, to, of, and, that, have, with."
    )
    repetition: bool = Field(
        default=True, description="Drop texts that repeat lines, paragraphs or n-grams beyond Gopher's limits."
    )


class Pairs(Part):
    """Checks of sentence pairs; other rows pass."""

    max_length_ratio: float = Field(default=3, ge=1, description="Maximum ratio of the sides' lengths in characters.")
    languages: bool = Field(default=True, description="Each side must be in the language that the row names.")
    untranslated: bool = Field(default=True, description="The sides differ in more than letter case and spaces.")
    placeholders: bool = Field(
        default=True, description="Both sides have the same placeholders: `%s`, `%(x)d`, `{name}`."
    )


class NamedEntities(Part):
    """Personal data that a model finds, such as names of people and places, which patterns can't find."""

    model: str = Field(
        pattern=MODEL_PATTERN,
        description="Version in the stack's store for token classification, as in `pii-model@2`.",
    )
    entities: Action | dict[str, Action] = Field(
        default="redact",
        description="`drop` or `redact` for every label of the model, or one for each, as in `{PER: redact, LOC: "
        "drop}`; without `B-` and `I-`.",
    )


class Prepare(Part):
    """Processing of rows before they are split. Each part but `max_characters` runs in the image `preparation`."""

    languages: list[str] = Field(
        default=[], description="Rows in other languages are dropped: codes of ISO 639-1, as in `[en, de]`."
    )
    quality: TextQuality | None = Field(default=None, description="`{}`: Gopher's limits.")
    pii: Annotated[dict[PiiEntity, Action], BeforeValidator(_for_each)] = Field(
        default={},
        description="Personal data found by pattern: `drop` or `redact` for every kind, or one for each, as in "
        "`{EMAIL_ADDRESS: redact, CREDIT_CARD: drop}`.",
    )
    ner: NamedEntities | None = Field(default=None, description="Personal data found by a model.")
    secrets: Literal["off", "drop", "redact"] = Field(
        default="off", description="Keys, tokens and passwords whose format detect-secrets knows."
    )
    near_duplicates: float = Field(
        default=0,
        ge=0,
        le=1,
        description="Rows that share this part of their 5-word shingles (Jaccard) are duplicates; 0.5 or more, 0: off.",
    )
    overlap_words: int = Field(
        default=0,
        ge=0,
        description="Training rows with this many consecutive words of a held-out row are dropped; 13 is usual.",
    )
    pairs: Pairs | None = Field(default=None, description="`{}`: every check.")
    tokenizer: str = Field(
        default="", description="tokenizer.json below the recipe's folder, with which tokens are counted."
    )

    @model_validator(mode="after")
    def _usable(self) -> "Prepare":
        if 0 < self.near_duplicates < 0.5:
            raise ValueError(f"`near_duplicates` is {self.near_duplicates:g}: write 0.5 to 1, or 0 for none")
        if 0 < self.overlap_words < 5:
            raise ValueError(f"`overlap_words` is {self.overlap_words}: write 5 at least, or 0 for none")
        return self

    @property
    def is_off(self) -> bool:
        """Whether no part is set, so that any Python can read, deduplicate and split the rows."""
        return self == Prepare()
