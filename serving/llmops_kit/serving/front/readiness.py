"""Readiness of a server for traffic, with its phase until then."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Readiness:
    """One server's state, as reported by /ping and /health."""

    phase: str = "starting"
    """`ready`, or the current phase."""
    progress: Callable[[], float] | None = None
    """Returns the progress of the phase, 0 to 1; None if it is unknown."""
    open: bool = False
    """Whether requests are accepted: from when the model is loaded until the lame duck time at the end is over."""
    model: dict[str, str] = field(default_factory=dict)
    """Name and SHA-256 of the served model."""
    longest_body: int | None = None
    """Bytes of a body above which no conversation fits the model's context; None if unknown."""
    since: float = field(default_factory=time.monotonic)

    @property
    def ready(self) -> bool:
        """Whether the server takes traffic."""
        return self.open and self.phase == "ready"

    def enter(self, phase: str, progress: Callable[[], float] | None = None) -> None:
        """Enters another phase."""
        self.phase, self.progress, self.since = phase, progress, time.monotonic()

    def describe(self) -> tuple[int, dict[str, Any]]:
        """Returns status and body of /ping and /health."""
        if self.ready:
            return 200, {"status": "ready", **self.model}
        body = {"status": self.phase, "seconds": round(time.monotonic() - self.since, 1)}
        return 503, body | ({"progress": round(self.progress(), 2)} if self.progress else {})
