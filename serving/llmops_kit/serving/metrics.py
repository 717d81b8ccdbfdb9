"""Metrics of /metrics, in Prometheus' text format."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_TTFT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PER_TOKEN = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2)


class Metrics:
    """Counters of one server, in their own registry."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "llmops_requests", "Requests by route and status.", ["route", "status"], registry=registry
        )
        self.prompt_tokens = Counter("llmops_prompt_tokens", "Tokens read.", registry=registry)
        self.generated_tokens = Counter("llmops_generated_tokens", "Tokens generated.", registry=registry)
        self.first_token = Histogram(
            "llmops_time_to_first_token_seconds", "From the request to its first token.", buckets=_TTFT,
            registry=registry,
        )  # fmt: skip
        self.per_token = Histogram(
            "llmops_time_per_output_token_seconds", "Between tokens, the first aside.", buckets=_PER_TOKEN,
            registry=registry,
        )  # fmt: skip
        self.engine_restarts = Counter("llmops_engine_restarts", "Engines that died.", registry=registry)
        self._info = Gauge(
            "llmops_model_info", "What is served.", ["model", "sha256", "engine", "precision"], registry=registry
        )

        self.quality = Gauge(
            "llmops_quality", "Share of the golden prompts answered rightly when last asked.", registry=registry
        )

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Exposes a value, read at the time of scraping."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def set_model(self, model: str, sha256: str, engine: str, precision: str) -> None:
        """Makes `llmops_model_info` name only this version."""
        self._info.clear()
        self._info.labels(model, sha256, engine, precision).set(1)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
