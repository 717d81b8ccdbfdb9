"""What the meter does where nobody can look."""

import threading

from contract.errors import KitError
from llmops.plan.prices import load_prices
from llmops.rehearsal.clouds.cloud import Standing
from llmops.rehearsal.cost_meter import Meter
from llmops.rehearsal.steps import Timeline


def test_limits_are_looked_at_also_while_nobody_can_look_at_the_machines() -> None:
    def standing() -> list[Standing]:
        raise KitError("ExpiredToken")

    looked = threading.Event()
    meter = Meter(standing, load_prices("us-east-1"), Timeline(), lambda _: True)
    meter.rate, meter.looked = 3600.0, looked.set
    meter.start(0.01)
    try:
        assert looked.wait(60)
    finally:
        meter.stop()
    assert meter.usd > 0, "what stood at the last look goes on to count"
