"""Sends requests to an endpoint at a steady rate in the background, and records them."""

import json
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.cli.rehearsal.steps import Request
from llmops_kit.core.errors import KitError

_EVERY_SECONDS = 0.5
_AT_ONCE = 4
_WAIT_SECONDS = 120


class Load:
    """Sends a request every half second inside the block; requests wait in a queue while all threads are busy."""

    def __init__(self, stage: Stage, endpoint: str, question: str) -> None:
        self._timeline = stage.timeline
        self._name = endpoint
        self._send = stage.cloud.asker(stage.outputs(), endpoint)
        self._body = json.dumps({"messages": [{"role": "user", "content": question}], "max_tokens": 8}).encode()
        self._stopped = threading.Event()
        self._asker = threading.Thread(target=self._ask_on, name="load", daemon=True)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="request")
        self._lock = threading.Lock()
        self.requests: list[Request] = []

    def __enter__(self) -> "Load":
        self._asker.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stopped.set()
        self._asker.join()
        self._pool.shutdown()

    @property
    def count(self) -> int:
        """Number of requests so far."""
        return len(self.requests)

    @property
    def failed(self) -> list[Request]:
        """Requests that got no answer."""
        return [r for r in self.requests if not r.ok]

    @property
    def median(self) -> float:
        """Median seconds of answered requests."""
        return statistics.median([r.seconds for r in self.requests if r.ok] or [0.0])

    def answered(self, more: int) -> None:
        """Waits for a number of further requests to finish.

        Raises:
            KitError: they don't within the time limit.
        """
        wanted, deadline = self.count + more, time.monotonic() + _WAIT_SECONDS
        while self.count < wanted:
            if time.monotonic() > deadline:
                raise KitError(f"no {more} answers in {_WAIT_SECONDS} s", where=f"endpoint {self._name}")
            time.sleep(0.05)

    def _ask_on(self) -> None:
        while not self._stopped.wait(_EVERY_SECONDS):
            self._pool.submit(self._ask)

    def _ask(self) -> None:
        at, began = self._timeline.now(), time.monotonic()
        ok, words = True, ""
        try:
            ok = bool(json.loads(self._send(self._body))["choices"])
        except Exception as e:  # whatever it is, the request was not answered
            ok, words = False, f"{type(e).__name__}: {e}"
        with self._lock:
            self.requests.append(Request(at, time.monotonic() - began, ok, words))
            self._timeline.requests.append(self.requests[-1])
