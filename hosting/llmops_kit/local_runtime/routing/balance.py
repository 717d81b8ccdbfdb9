"""Chooses a request's backend: weights among variants, least outstanding requests among a variant's instances."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from llmops_kit.core.document import Document, Part
from llmops_kit.core.errors import DocumentError
from llmops_kit.core.expiry import utc_text
from llmops_kit.core.key_file import ApiKey, WatchedKeyFile


class VariantRoute(Part):
    """A variant's share and instances."""

    weight: int = Field(ge=0, le=1_000_000, description="Share of the requests, relative to the other weights.")
    backends: list[str] = Field(description="Base URLs, http://host:port.")
    sockets: dict[str, str] = Field(
        default={},
        description="Base URL -> unix socket on which that instance takes connections, if its server supports it; "
        "relative to the router's folder.",
    )
    key_sha256: str = Field(default="", description="Of the API key that its server takes; empty: it asks for none.")
    keys_file: str = Field(
        default="", description="Of further keys that it takes, on this machine; read when it changes."
    )


class Routes(Document):
    """Backends and weights of an endpoint; set as a whole, and kept in a file that a restarted router reads."""

    SCHEMA: ClassVar[str] = "routes/1"

    variants: dict[str, VariantRoute] = Field(default={})


@dataclass(eq=False)
class Backend:
    """One instance of a variant, with its counts since it was added. Times are in seconds.

    `takes_connections`: it served its `socket` when it became healthy; otherwise requests are relayed to it.
    """

    url: str
    variant: str
    socket: str = ""
    takes_connections: bool = False
    healthy: bool = False
    reason: str = "not asked yet"
    since: float = field(default_factory=time.time)
    in_flight: int = 0
    requests: int = 0
    errors: int = 0
    first_bytes: int = 0
    first_byte_seconds: float = 0.0
    last_chosen: int = 0

    def mark(self, healthy: bool, reason: str = "") -> bool:
        """Sets the health; returns whether it changed."""
        self.reason = reason
        if healthy == self.healthy:
            return False
        self.healthy = healthy
        self.takes_connections &= healthy  # checked again once it is healthy
        self.since = time.time()
        return True

    def count_first_byte(self, seconds: float) -> None:
        """Adds to the mean time to first byte."""
        self.first_bytes += 1
        self.first_byte_seconds += seconds

    def describe(self) -> dict[str, object]:
        """Returns a row of `GET /state`. `errors`: 5xx responses, cut streams and lost connections; `ttft_ms`: mean, or
        null.
        """
        mean = 1000 * self.first_byte_seconds / self.first_bytes if self.first_bytes else None
        return {
            "url": self.url,
            "variant": self.variant,
            "healthy": self.healthy,
            "takes_connections": self.takes_connections,
            "reason": self.reason,
            "since": round(self.since, 3),
            "in_flight": self.in_flight,
            "requests": self.requests,
            "errors": self.errors,
            "ttft_ms": mean,
        }


class Turns:
    """Smooth weighted round robin: the weights hold exactly over each round."""

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def keep(self, names: Iterable[str]) -> None:
        """Forgets all but these."""
        self._credit = {name: self._credit.get(name, 0) for name in names}

    def next(self, weights: Mapping[str, float]) -> str:
        """Returns the next name; at least one weight must be above 0."""
        for name, weight in weights.items():
            self._credit[name] = self._credit.get(name, 0) + weight
        chosen = max(weights, key=lambda name: self._credit[name])
        self._credit[chosen] -= sum(weights.values())
        return chosen


class Table:
    """The current routes, their backends, and removed backends that still finish requests."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Has no routes yet; `clock` returns the seconds since 1970."""
        self._clock = clock
        self.routes = Routes.new()
        self.backends: dict[str, Backend] = {}
        self.draining: list[Backend] = []
        self._turns = Turns()
        self._chosen = 0
        self._key_files: dict[str, WatchedKeyFile] = {}
        self._expired: set[tuple[str, str]] = set()
        self._change = asyncio.Event()

    def update(self, routes: Routes) -> tuple[list[Backend], list[Backend]]:
        """Replaces the routes; backends that stay keep their health and counts.

        Returns:
            The backends that were added and those that were removed.
        """
        named = {url: variant for variant, route in routes.variants.items() for url in route.backends}
        removed = [b for url, b in self.backends.items() if named.get(url) != b.variant]
        kept = {url: b for url, b in self.backends.items() if named.get(url) == b.variant}
        sockets = {url: path for route in routes.variants.values() for url, path in route.sockets.items()}
        added = [Backend(url, variant, sockets.get(url, "")) for url, variant in named.items() if url not in kept]
        self.backends = kept | {b.url: b for b in added}
        self.draining += removed
        self._turns.keep(routes.variants)
        paths = {route.keys_file for route in routes.variants.values() if route.keys_file}
        self._key_files = {path: self._key_files.get(path) or WatchedKeyFile(Path(path)) for path in paths}
        self.routes = routes
        self.notify()
        return added, removed

    def choose(self, avoid: Iterable[Backend] = (), wanted: str = "") -> Backend | None:
        """Returns the backend for the next request, or None if none with traffic is healthy.

        Weights hold exactly over each round. The share of a variant without a healthy instance goes to the others.

        Args:
            avoid: backends to choose only if there is no other.
            wanted: the variant that must answer, regardless of its weight; empty: the weights decide.
        """
        healthy = [b for b in self.backends.values() if b.healthy]
        healthy = [b for b in healthy if b not in set(avoid)] or healthy
        weights = {v: r.weight for v, r in self.routes.variants.items() if r.weight}
        if wanted:
            weights = {wanted: 1}
        candidates = {v: w for v, w in weights.items() if any(b.variant == v for b in healthy)}
        if not candidates:
            return None
        variant = self._turns.next(candidates)
        chosen = min((b for b in healthy if b.variant == variant), key=lambda b: (b.in_flight, b.last_chosen))
        self._chosen += 1
        chosen.last_chosen = self._chosen
        return chosen

    def keys(self) -> list[str] | None:
        """Returns the digests of the keys that some variant accepts, without expired ones; None if one accepts requests
        without a key.
        """
        digests = [route.key_sha256 for route in self.routes.variants.values()]
        if not all(digests):
            return None
        now = utc_text(self._clock())
        issued = [key for file in self._key_files.values() for key in _renewed(file)]
        for key in issued:
            if key.has_expired(now) and (key.name, key.expires) not in self._expired:
                self._expired.add((key.name, key.expires))
                print(f"API key {key.name} has expired ({key.expires})", flush=True)
        return [*digests, *(key.sha256 for key in issued if not key.has_expired(now))]

    @property
    def has_traffic(self) -> bool:
        """Whether some variant has a weight and instances, healthy or not."""
        return any(r.weight and r.backends for r in self.routes.variants.values())

    def notify(self) -> None:
        """Wakes tasks that wait for a change, and forgets removed backends that finished."""
        self.draining = [b for b in self.draining if b.in_flight]
        self._change.set()
        self._change = asyncio.Event()

    async def changed(self, seconds: float) -> None:
        """Waits for the next change, at most `seconds`."""
        event = self._change
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return

    def list_variants(self) -> dict[str, object]:
        """Returns the variants and their weights for clients, in the form of OpenAI's lists."""
        variants = [{"id": v, "object": "variant", "weight": r.weight} for v, r in self.routes.variants.items()]
        return {"object": "list", "data": variants}

    def describe(self) -> dict[str, object]:
        """Returns the body of `GET /state`."""
        return {
            "weights": {v: r.weight for v, r in self.routes.variants.items()},
            "backends": [b.describe() for b in self.backends.values()],
            "draining": [b.describe() for b in self.draining if b.in_flight],
        }


def _renewed(file: WatchedKeyFile) -> list[ApiKey]:
    with suppress(DocumentError):  # half-written: the server reads it too, and logs the error
        file.renew()
    return file.keys
