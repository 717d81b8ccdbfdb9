"""What stands in the account costs an hour, by the kit's table of prices; and what it has cost so far."""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from llmops.plan.prices import Prices
from llmops.rehearsal.clouds.cloud import Standing
from llmops.rehearsal.steps import Timeline

_HOUR = 3600


class Meter:
    """Looks every so often, in the background. Instances of endpoints and jobs of stacks count; they are nearly all."""

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
        """Dollars an hour, now."""
        self.usd = 0.0
        """Dollars so far: an estimate."""
        self.unknown: set[str] = set()
        """Instance types whose price the table does not have."""
        self.looked: Callable[[], None] = lambda: None
        """Called after each look in the background, also after one that failed."""

    def start(self, every_seconds: float) -> None:
        """Look now and then until `stop`."""
        self._thread = threading.Thread(target=self._run, args=(every_seconds,), name="meter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread:
            self._thread.join()

    def look(self) -> None:
        """Count what stands, and add what stood since the last look."""
        now = time.monotonic()
        self.usd += self.rate * (now - self._looked) / _HOUR
        self._looked = now
        rate = sum(each.count * self._price(each) for each in self._standing() if self._is_ours(each.name))
        if rate != self.rate or not self._timeline.cost:
            self._timeline.cost.append((self._timeline.now(), rate))
        self.rate = rate

    def _run(self, every_seconds: float) -> None:
        while not self._stopped.wait(every_seconds):
            for each in (self.look, self.looked):
                with suppress(Exception):  # what stood at the last look goes on to count, and the next look corrects it
                    each()

    def _price(self, machines: Standing) -> float:
        price = self._prices.instance(machines.purpose, machines.instance_type)
        if price is None:
            self.unknown.add(machines.instance_type)
            return 0.0
        return price.amount
