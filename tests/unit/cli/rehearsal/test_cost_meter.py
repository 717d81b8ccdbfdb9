"""What the meter does where nobody can look, and with what it can't read."""

import threading
from collections.abc import Iterator

import pytest

from llmops_kit.cli.machines.prices import load_prices
from llmops_kit.cli.rehearsal.cloud import Standing
from llmops_kit.cli.rehearsal.cost_meter import Meter
from llmops_kit.cli.rehearsal.steps import Timeline
from llmops_kit.core.errors import KitError

MACHINE = Standing("ours", "hosting", "ml.m5.xlarge", 1)


def meter_of(*looks: Exception | Standing) -> Meter:
    """A meter whose looks find these machines, one after the other, or fail."""
    left = iter(looks)

    def standing() -> Iterator[Standing]:
        found = next(left)
        if isinstance(found, Exception):
            raise found
        yield found

    return Meter(standing, load_prices("us-east-1"), Timeline(), lambda _: True)


def test_limits_are_looked_at_also_while_nobody_can_look_at_the_machines() -> None:
    looked = threading.Event()
    meter = meter_of(*[KitError("ExpiredToken")] * 99999)
    meter.rate, meter.looked = 3600.0, looked.set
    meter.start(0.01)
    try:
        assert looked.wait(60)
    finally:
        meter.stop()
    assert meter.usd > 0, "what stood at the last look goes on to count"


def test_what_was_never_seen_is_not_known_and_not_zero() -> None:
    meter = meter_of(KeyError("InstanceType"), MACHINE)
    with pytest.raises(KitError, match="KeyError: 'InstanceType'"):
        meter.look()
    assert "KeyError" in meter.blind
    assert meter.estimate is None
    meter.look()
    assert (meter.blind, meter.estimate) == ("", meter.usd)


def test_after_a_good_look_two_may_fail_and_a_third_makes_it_blind() -> None:
    expired = KitError("ExpiredToken")
    meter = meter_of(MACHINE, expired, expired, MACHINE, expired, expired, expired)
    for failing in (False, True, True, False, True, True):
        if failing:
            with pytest.raises(KitError):
                meter.look()
        else:
            meter.look()
        assert (meter.blind, meter.rate > 0) == ("", True)
    with pytest.raises(KitError):
        meter.look()
    assert "ExpiredToken" in meter.blind
    assert meter.estimate is None


def test_what_has_no_price_is_named_and_no_estimate_is_given() -> None:
    meter = meter_of(Standing("ours", "hosting", "serverless inference", 1))
    meter.look()
    assert (meter.unknown, meter.estimate) == ({"serverless inference"}, None)
