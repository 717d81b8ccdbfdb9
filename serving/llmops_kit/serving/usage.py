"""Counts a request's tokens once, for its log line, its key's budget, /metrics and its answer."""

import time
from collections.abc import Sequence
from typing import Any

from llmops_kit.serving.api.frames import usage_of
from llmops_kit.serving.metrics import Metrics


class Usage:
    """The tokens of one request, counted as an engine reads and generates them."""

    def __init__(self, metrics: Metrics, started: float) -> None:
        """Begins at zero; `started` is the time of the request, by `time.perf_counter`."""
        self._metrics = metrics
        self.started = started
        self.prompt_tokens = 0
        self.completion_tokens = 0
        """Tokens of all answers."""
        self.finish = ""
        """The finish reason of the last answer to end."""
        self._first_token = 0.0  # seconds from the request to its first token
        self._last_token = 0.0

    @property
    def total(self) -> int:
        """Tokens that count against the key's budget."""
        return self.prompt_tokens + self.completion_tokens

    def read(self, tokens: int) -> None:
        """Counts tokens of a prompt or an input."""
        self._metrics.prompt_tokens.inc(tokens)
        self.prompt_tokens += tokens

    def generated(self, tokens: int) -> None:
        """Counts tokens that have just been generated."""
        if not tokens:
            return
        now = time.perf_counter()
        self._metrics.generated_tokens.inc(tokens)
        if not self.completion_tokens:
            self._first(now - self.started)
        else:
            self._metrics.per_token.observe((now - self._last_token) / tokens)
        self._last_token = now
        self.completion_tokens += tokens

    def generated_before(self, answers: Sequence[int], first: float, spread: float) -> None:
        """Counts the tokens of answers that an engine returns only at their end.

        Args:
            answers: the tokens of each.
            first: seconds from the request to the first token; 0: unknown.
            spread: seconds from there to the last token.
        """
        tokens, longest = sum(answers), max(answers, default=0)
        self._metrics.generated_tokens.inc(tokens)
        if first and tokens and not self.completion_tokens:
            self._first(first)
        if longest > 1 and spread > 0:
            self._metrics.per_token.observe(spread / (longest - 1))
        self.completion_tokens += tokens

    def fields(self) -> dict[str, Any]:
        """Returns the fields of the log line; none if nothing was counted."""
        if not self.completion_tokens:
            return {"prompt_tokens": self.prompt_tokens} if self.prompt_tokens else {}
        first = {"first_token_ms": round(self._first_token * 1000, 1)} if self._first_token else {}
        counts = {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}
        return {**counts, **first, "finish": self.finish or None}

    def to_dict(self) -> dict[str, int]:
        """Returns OpenAI's usage object."""
        return usage_of(self.prompt_tokens, self.completion_tokens)

    def _first(self, seconds: float) -> None:
        self._first_token = seconds
        self._metrics.first_token.observe(seconds)
