"""What a canary's requests say, as the router counts them."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmops_kit.core.rollout import MORE_EVIDENCE, RolloutOutcome, RolloutVerdict
from llmops_kit.local_runtime import rollout
from llmops_kit.local_runtime.endpoint import HostedEndpoint
from llmops_kit.local_runtime.spec import EndpointRecord, EndpointSpec, VariantRecord

IMAGE = "process:serving@sha256:" + "0" * 64


@dataclass
class Endpoint:
    """Stands for an endpoint: the rows of its router, and its workers."""

    rows: dict[str, list[int]]
    """Variant -> requests, errors and answers under way."""
    starts: int = 1
    name: str = "chat"
    folder: Path = field(default=Path("/home/chat"))

    @property
    def daemon(self) -> Any:
        program = SimpleNamespace(starts=self.starts, running=True)
        return SimpleNamespace(programs=lambda: {"new": program}, log_tail=lambda *_: ["killed"])

    def worker(self, *_: Any) -> str:
        return "new"

    def log(self, name: str) -> str:
        return name

    def router_state(self) -> dict[str, Any]:
        fields = ("requests", "errors", "in_flight")
        return {
            "backends": [
                {"variant": variant, **dict(zip(fields, row, strict=True))} for variant, row in self.rows.items()
            ]
        }


NEW = EndpointSpec.model_validate({"name": "chat", "image": IMAGE, "rollout": {"strategy": "canary"}})
OLD = NEW.model_copy(update={"environ": {"VERSION": "1"}})


def watch(endpoint: Endpoint) -> rollout._Watch:
    variants = {spec.variant: VariantRecord(spec=spec, ports=[1]) for spec in (OLD, NEW)}
    record = EndpointRecord.new(name="chat", variants=variants)
    return rollout._Watch(cast("HostedEndpoint", endpoint), record, NEW)


def counted(new: list[int], old: list[int]) -> dict[str, list[int]]:
    return {NEW.variant: new, OLD.variant: old}


@pytest.mark.parametrize(
    ("new", "old", "outcome", "said"),
    [
        (
            [10, 8, 0],
            [1090, 100, 0],
            RolloutOutcome.WORSE,
            "8 of its 10 requests failed (0 of 90 of the old version's)",
        ),
        ([10, 1, 0], [1090, 100, 0], RolloutOutcome.LITTLE_EVIDENCE, "1 of its 10 requests failed (0 of 90"),
        ([300, 0, 0], [3700, 100, 0], RolloutOutcome.NOT_WORSE, "0 of its 300 requests failed (0 of 2700"),
        (
            [300, 0, 295],
            [3700, 100, 0],
            RolloutOutcome.LITTLE_EVIDENCE,
            "0 of its 5 requests failed",
        ),  # most aren't answered
        (
            [3, 5, 0],
            [1000, 100, 0],
            RolloutOutcome.LITTLE_EVIDENCE,
            "3 of its 3 requests failed",
        ),  # counted by status and end
        ([3, 0, 0], [7, 2, 0], RolloutOutcome.LITTLE_EVIDENCE, "(0 of 0 of the old"),  # a router that was started anew
    ],
)
def test_answered_requests_since_the_beginning_are_compared(
    new: list[int], old: list[int], outcome: RolloutOutcome, said: str
) -> None:
    endpoint = Endpoint(counted([0, 0, 0], [1000, 100, 0]))
    watched = watch(endpoint)
    endpoint.rows = counted(new, old)
    found = watched.look()
    assert found.outcome is outcome
    assert said in found.reason


def test_a_worker_that_ended_is_worse_whatever_its_requests() -> None:
    endpoint = Endpoint(counted([0, 0, 0], [1000, 100, 0]))
    watched = watch(endpoint)
    endpoint.starts = 2
    assert watched.look() == RolloutVerdict(RolloutOutcome.WORSE, "one of its workers ended\n  killed")


def test_a_rollback_for_little_evidence_says_how_to_get_more() -> None:
    endpoint = cast("HostedEndpoint", Endpoint({}))
    little = rollout._rolled_back(
        endpoint, RolloutVerdict(RolloutOutcome.LITTLE_EVIDENCE, "1 of its 5 requests failed"), "b", ["a"]
    )
    assert (
        little.what == "variant b was rolled back: not enough evidence: 1 of its 5 requests failed; a serves as before"
    )
    assert little.fix == MORE_EVIDENCE
    assert "logs" in rollout._rolled_back(endpoint, RolloutVerdict(RolloutOutcome.WORSE, "it failed"), "b", ["a"]).fix
