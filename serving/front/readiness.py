"""Whether a server is ready, and otherwise why not."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Readiness:
    """One server's state, as /ping tells it."""

    phase: str = "starting"
    """`ready`, or what goes on."""
    progress: Callable[[], float] | None = None
    """How much of the phase is done, 0 to 1; None: nobody knows."""
    open: bool = False
    """Requests are taken: from when the model is loaded until the server stops, its lame duck's time included."""
    model: dict[str, str] = field(default_factory=dict)
    """Name and sha256 of what is served."""
    longest_body: int | None = None
    """Bytes of a body above which no conversation fits the model's context; None: not known."""
    since: float = field(default_factory=time.monotonic)

    @property
    def ready(self) -> bool:
        """Takes traffic."""
        return self.open and self.phase == "ready"

    def enter(self, phase: str, progress: Callable[[], float] | None = None) -> None:
        """Goes on to another phase."""
        self.phase, self.progress, self.since = phase, progress, time.monotonic()

    def describe(self) -> tuple[int, dict[str, Any]]:
        """Status and body of /ping."""
        if self.ready:
            return 200, {"status": "ready", **self.model}
        body = {"status": self.phase, "seconds": round(time.monotonic() - self.since, 1)}
        return 503, body | ({"progress": round(self.progress(), 2)} if self.progress else {})
