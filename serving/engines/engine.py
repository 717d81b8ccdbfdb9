"""The Engine protocol: token ids in, an async iterator of tokens out."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """What an engine loads, and how."""

    engine: str
    files: tuple[str, ...]
    """Names below the model version's folder; each comes with a handle, by which it was verified."""
    precision: str
    threads: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine that is ready says of itself."""

    engine: str
    precision: str
    """The one that it computes in: f32, bf16 or f16."""
    version: str
    penalties: bool
    """Whether frequency and presence penalties work as OpenAI defines them."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One answer to generate. Everything is validated before it comes here."""

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
    """What one or several steps of the engine added to an answer."""

    ids: list[int]
    finish: Finish | None


class EngineError(Exception):
    """The engine could not finish an answer; says so in words for the caller."""


class Engine(Protocol):
    """Where tokens come from."""

    async def ready(self) -> EngineInfo:
        """Return when the model is loaded and can generate.

        Raises:
            ServingError: the model can't be loaded.
        """
        ...

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Tokens, None]:
        """Tokens as they come; the last item has `finish`. Closing the iterator early frees its place in the batch.

        Raises:
            EngineError: the answer can't be finished.
        """
        ...

    async def close(self) -> None:
        """End the engine; answers that still run raise EngineError."""
        ...
