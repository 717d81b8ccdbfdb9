"""What is kept of requests: by endpoint and time, over a restart, with a limit to what is under way."""

import time
from pathlib import Path

from llmops_twins.azure.telemetry.metering import RequestMeter
from llmops_twins.azure.twin import TenantTwin

CHAT, OTHER = (f"/subscriptions/s/resourceGroups/rg/providers/X/workspaces/w/onlineEndpoints/{n}" for n in ("A", "b"))


def test_answers_of_an_endpoint_in_a_time(tmp_path: Path) -> None:
    twin = TenantTwin(tmp_path)
    meter = RequestMeter(twin)
    begin = time.time()
    meter.count(CHAT, "blue", 200, 200, 0.25, sent=7, received=3)
    meter.count(CHAT.lower(), "green", 424, 500, 0.5)
    meter.count(OTHER, "blue", 429, 0, 0.0)
    found = meter.since(CHAT, begin - 1, time.time() + 1)
    assert [(each.deployment, each.status, each.model_status, each.sent) for each in found] == [
        ("blue", 200, 200, 7),
        ("green", 424, 500, 0),
    ]
    assert meter.since(CHAT, begin - 10, begin - 1) == []
    assert len(meter.every(begin - 1, time.time() + 1)) == 3
    again = RequestMeter(twin)  # of the next process, with the same state
    assert again.since(CHAT, begin - 1, time.time() + 1) == found
    meter.forget(CHAT)
    assert len(meter.every(begin - 1, time.time() + 1)) == 1


def test_so_many_are_answered_at_once(tmp_path: Path) -> None:
    meter = RequestMeter(TenantTwin(tmp_path))
    assert [meter.began(CHAT, "blue", 2) for _ in range(3)] == [True, True, False]
    assert meter.began(CHAT, "green", 1)
    begin = time.time()
    meter.since(CHAT, 0, 1)
    assert meter.connections(CHAT, begin - 1, time.time() + 1) == [3]
    meter.ended(CHAT, "blue")
    assert meter.began(CHAT, "blue", 2)
