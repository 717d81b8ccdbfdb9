"""Messages between the server and an engine: load orders, generation requests, and generated tokens."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

GRAMMAR_BYTES = 64 << 20
"""Memory for compiled grammars, which repeated requests use again. Those of running answers may come on top."""
MAX_GRAMMAR_BYTES = GRAMMAR_BYTES // 4
"""Maximum of one compiled grammar."""

Finish = Literal["stop", "length"]
Chance = tuple[float, list[tuple[int, float]]]
"""A chosen token's log probability, and the likeliest tokens with theirs."""


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """Files that an engine loads, and the settings to load them with."""

    engine: str
    files: tuple[str, ...]
    """Names below the model version's folder; each comes with the handle through which it was verified."""
    precision: str
    threads: int
    embedding: dict[str, Any] | None = None
    """Pooling and scaling of an embedding model; None: the model generates text."""
    prefix_cache: bool = False
    """Keep the computed prefixes of prompts for later requests, from any caller."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Properties that an engine reports once it is ready."""

    engine: str
    precision: str
    """Precision of computations: f32, bf16 or f16."""
    version: str
    penalties: bool
    """Whether frequency and presence penalties work as OpenAI defines them."""
    top_logprobs: int
    """Maximum number of likeliest tokens that it reports at each position, beside the chosen one."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """JSON between two fixed texts."""

    begin: str
    schema: str
    """The JSON schema, as a JSON text."""
    end: str


@dataclass(frozen=True, slots=True)
class Grammar:
    """A constraint on an answer: JSON by one schema, or one or several of `choices` in a row.

    With a `trigger` it allows any text; a part that begins with the trigger must be one of `choices`.
    """

    schema: str = ""
    """The JSON schema, as a JSON text; "" if `choices` apply."""
    choices: tuple[Tagged, ...] = ()
    before: str = ""
    after: str = ""
    separator: str = ""
    several: bool = False
    trigger: str = ""

    @classmethod
    def of_dict(cls, data: dict[str, Any]) -> "Grammar":
        """Returns a grammar from the fields in a message."""
        return cls(**{**data, "choices": tuple(Tagged(**choice) for choice in data["choices"])})


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One answer to generate; the server has validated every field."""

    prompt: list[int]
    max_tokens: int
    stop_ids: tuple[int, ...] = ()
    temperature: float = 0.0
    """0 means greedy."""
    top_p: float = 1.0
    seed: int = 0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    min_tokens: int = 0
    """Number of tokens before which no stop id is chosen."""
    logprobs: int | None = None
    """Number of likeliest tokens to report beside each chosen one; None: no log probabilities at all."""
    grammar: Grammar | None = None

    @classmethod
    def of_dict(cls, data: dict[str, Any]) -> "GenerationRequest":
        """Returns a request from the fields in a message."""
        grammar = data.get("grammar")
        return cls(**{**data, "grammar": Grammar.of_dict(grammar) if grammar else None})


class Tokens(NamedTuple):
    """Token ids that one or several steps of the engine appended to an answer."""

    ids: list[int]
    finish: Finish | None
    chances: list[Chance]
    """Log probabilities of each id if they were requested; otherwise empty."""


class EngineError(Exception):
    """Error for an answer that the engine could not finish; its text is for the caller."""
