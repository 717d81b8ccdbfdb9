"""Estimates the cost per hour of running resources in the account by the kit's price table, and the cost so far."""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from llmops_kit.cli.machines.prices import Prices
from llmops_kit.cli.rehearsal.cloud import Standing
from llmops_kit.cli.rehearsal.steps import Timeline
from llmops_kit.core.errors import KitError

_HOUR = 3600
_FAILURES = 3
"""Number of failed requests in a row until the cost is unknown; before, the last known resources count."""


class Meter:
    """Estimates the cost periodically in the background, by instances of endpoints and jobs, which cause nearly all."""

    def __init__(
        self,
        standing: Callable[[], Iterable[Standing]],
        prices: Prices,
        timeline: Timeline,
        is_ours: Callable[[str], bool],
    ) -> None:
        self._standing, self._prices, self._timeline, self._is_ours = standing, prices, timeline, is_ours
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._looked = time.monotonic()
        self.rate = 0.0
        """Dollars per hour, now."""
        self.usd = 0.0
        """Dollars so far: an estimate."""
        self.unknown: set[str] = set()
        """Instance types whose price the table does not have."""
        self._seen = False
        self._failures: list[str] = []
        """Errors since the last successful estimate."""
        self.looked: Callable[[], None] = lambda: None
        """Called after each estimate in the background, also after a failed one."""

    def start(self, every_seconds: float) -> None:
        """Estimates at an interval until `stop`."""
        self._thread = threading.Thread(target=self._run, args=(every_seconds,), name="meter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread:
            self._thread.join()

    @property
    def blind(self) -> str:
        """Why the cost is not known: no estimate succeeded yet, or the last three failed; empty: it is known."""
        return self._failures[-1] if self._failures and not (self._seen and len(self._failures) < _FAILURES) else ""

    @property
    def estimate(self) -> float | None:
        """Dollars so far; None, never zero, if they are not known."""
        return None if self.blind or self.unknown else self.usd

    def look(self) -> None:
        """Adds the cost since the last estimate, and counts the running machines.

        Raises:
            KitError: the machines can't be listed.
        """
        now = time.monotonic()
        self.usd += self.rate * (now - self._looked) / _HOUR
        self._looked = now
        try:
            rate = sum(each.count * self._price(each) for each in self._standing() if self._is_ours(each.name))
        except Exception as e:  # a response of an unknown form must not count as zero cost
            error = e if isinstance(e, KitError) else _unreadable(e)
            self._failures.append(str(error))
            raise error from e
        self._seen, self._failures = True, []
        if rate != self.rate or not self._timeline.cost:
            self._timeline.cost.append((self._timeline.now(), rate))
        self.rate = rate

    def _run(self, every_seconds: float) -> None:
        while not self._stopped.wait(every_seconds):
            for each in (self.look, self.looked):
                with suppress(Exception):  # repeated failures make it `blind`; the next estimate corrects a single one
                    each()

    def _price(self, machines: Standing) -> float:
        price = self._prices.instance(machines.purpose, machines.instance_type)
        if price is None:
            self.unknown.add(machines.instance_type)
            return 0.0
        return price.amount


def _unreadable(error: Exception) -> KitError:
    return KitError(
        f"resources billed by the hour can't be read: {type(error).__name__}: {error}",
        where="cost meter",
        fix="this is a bug in the kit: report it with this line",
    )
