"""Messages between the server and an engine: what to load, what to generate, and the tokens that come back."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """Files that an engine loads, and the settings to load them with."""

    engine: str
    files: tuple[str, ...]
    """Names below the model version's folder; each comes with a handle, by which it was verified."""
    precision: str
    threads: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Properties that an engine reports once it is ready."""

    engine: str
    precision: str
    """Precision of computations: f32, bf16 or f16."""
    version: str
    penalties: bool
    """Whether frequency and presence penalties work as OpenAI defines them."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One answer to generate; the server has validated every field."""

    prompt: list[int]
    max_tokens: int
    stop_ids: tuple[int, ...] = ()
    temperature: float = 0.0
    """0: greedy."""
    top_p: float = 1.0
    seed: int = 0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0


class Tokens(NamedTuple):
    """Token ids that one or several steps of the engine added to an answer."""

    ids: list[int]
    finish: Finish | None


class EngineError(Exception):
    """Error for an answer that the engine could not finish; its text is for the caller."""
