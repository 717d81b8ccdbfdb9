"""What stands in the account costs an hour, by the kit's table of prices; and what it has cost so far."""

import threading
import time
from collections.abc import Callable
from typing import Any

from llmops.platforms.aws.clients import Clients
from llmops.prices import Prices
from llmops.rehearsal.inventory import each
from llmops.rehearsal.steps import Timeline

_GONE = ("Deleting", "Failed")
_HOUR = 3600


class Meter:
    """Looks every so often, in the background. Instances of endpoints and jobs of stacks count; they are nearly all."""

    def __init__(self, clients: Clients, prices: Prices, timeline: Timeline, is_ours: Callable[[str], bool]) -> None:
        self._clients, self._prices, self._timeline, self._is_ours = clients, prices, timeline, is_ours
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._looked = time.monotonic()
        self.rate = 0.0
        """Dollars an hour, now."""
        self.usd = 0.0
        """Dollars so far: an estimate."""
        self.unknown: set[str] = set()
        """Instance types whose price the table does not have."""

    def start(self, every_seconds: float) -> None:
        """Look now and then until `stop`."""
        self._thread = threading.Thread(target=self._run, args=(every_seconds,), name="meter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        if self._thread:
            self._thread.join()

    def look(self) -> None:
        """Count what stands, and add what stood since the last look."""
        now = time.monotonic()
        self.usd += self.rate * (now - self._looked) / _HOUR
        self._looked = now
        rate = sum(self._endpoints()) + sum(self._jobs())
        if rate != self.rate or not self._timeline.cost:
            self._timeline.cost.append((self._timeline.now(), rate))
        self.rate = rate

    def _run(self, every_seconds: float) -> None:
        while not self._stopped.wait(every_seconds):
            try:
                self.look()
            except Exception:  # what stood at the last look goes on to count, and the next look corrects it
                continue

    def _endpoints(self) -> list[float]:
        sagemaker, found = self._clients("sagemaker"), []
        for endpoint in each(sagemaker, "list_endpoints", "Endpoints"):
            if self._is_ours(endpoint["EndpointName"]) and endpoint["EndpointStatus"] not in _GONE:
                live = sagemaker.describe_endpoint(EndpointName=endpoint["EndpointName"])
                config = sagemaker.describe_endpoint_config(EndpointConfigName=live["EndpointConfigName"])
                counts = {
                    v["VariantName"]: v.get("CurrentInstanceCount", 1) for v in live.get("ProductionVariants", [])
                }
                for variant in config["ProductionVariants"]:
                    count = counts.get(variant["VariantName"], 1)
                    found.append(count * self._price("hosting", variant["InstanceType"]))
        return found

    def _jobs(self) -> list[float]:
        sagemaker, found = self._clients("sagemaker"), []
        for job in each(sagemaker, "list_training_jobs", "TrainingJobSummaries", StatusEquals="InProgress"):
            if self._is_ours(job["TrainingJobName"]):
                resources: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])[
                    "ResourceConfig"
                ]
                found.append(resources["InstanceCount"] * self._price("training", resources["InstanceType"]))
        return found

    def _price(self, kind: str, instance_type: str) -> float:
        price = self._prices.instance(kind, instance_type)
        if price is None:
            self.unknown.add(instance_type)
            return 0.0
        return price.amount
