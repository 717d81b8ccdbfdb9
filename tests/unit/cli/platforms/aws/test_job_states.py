"""From SageMaker's description of jobs to a run's state, its story and its cost."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llmops_kit.cli.machines.prices import Prices
from llmops_kit.cli.platforms.aws.job_states import bill, cost, run_state, spot_saving, story

BEGAN = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
PRICES = Prices(
    "eu-central-1",
    {"regions": {"eu-central-1": {"training": {"source": "s", "date": "d", "prices": {"ml.m5.xlarge": 0.36}}}}},
)


def job(status: str = "Completed", secondary: str = "", **members: Any) -> dict[str, Any]:
    """A job that trained for 100 seconds."""
    described = {
        "TrainingJobStatus": status,
        "SecondaryStatus": secondary or status,
        "CreationTime": BEGAN - timedelta(seconds=20),
        "TrainingStartTime": BEGAN,
        "TrainingEndTime": BEGAN + timedelta(seconds=100),
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2},
    }
    return described | members


@pytest.mark.parametrize(
    ("described", "status", "failure"),
    [
        (job(), "completed", ""),
        (job("Failed", FailureReason="AlgorithmError: no luck\n"), "failed", "AlgorithmError: no luck"),
        (job("Stopped"), "stopped", ""),
        (job("Stopped", "MaxRuntimeExceeded"), "stopped", "it reached max_hours"),
        (job("Stopped", "MaxWaitTimeExceeded"), "stopped", "it waited and ran for max_wait_hours"),
        (job("InProgress", "Starting"), "running", ""),
        (job("InProgress", "Interrupted"), "running", ""),
        (job("Stopping"), "running", ""),
    ],
    ids=lambda value: value["SecondaryStatus"] if isinstance(value, dict) else None,
)
def test_a_runs_state_is_that_of_its_last_job(described: dict[str, Any], status: str, failure: str) -> None:
    state = run_state("r-1", [job("Failed", FailureReason="before"), described], PRICES)
    assert (state.status, state.failure) == (status, failure)
    assert state.started == "2026-11-25T11:59:40Z"
    assert bool(state.ended) == (status != "running")


def test_a_run_without_a_job_was_never_started() -> None:
    assert run_state("r-1", [], PRICES).status == "pending"


def test_what_is_paid_for_is_the_time_on_instances_of_all_attempts() -> None:
    assert cost([job()], PRICES) == pytest.approx(2 * 0.36 * 100 / 3600)
    assert cost([job("Stopped"), job()], PRICES) == pytest.approx(4 * 0.36 * 100 / 3600)
    waiting = job("InProgress", "Starting")
    del waiting["TrainingStartTime"]
    assert cost([waiting], PRICES) == 0
    running = job("InProgress", "Training", TrainingStartTime=datetime.now(UTC) - timedelta(seconds=50))
    del running["TrainingEndTime"]
    assert cost([running], PRICES) == pytest.approx(0.01, rel=0.2)


def test_what_has_no_price_has_no_cost() -> None:
    other = job(ResourceConfig={"InstanceType": "ml.p5.48xlarge", "InstanceCount": 1})
    assert cost([job(), other], PRICES) is None
    assert "no price is known" in bill([other], PRICES)
    assert run_state("r-1", [other], PRICES).usd is None


def test_spot_costs_what_sagemaker_bills() -> None:
    spot = job(EnableManagedSpotTraining=True, TrainingTimeInSeconds=100, BillableTimeInSeconds=30)
    assert spot_saving(spot) == 0.7
    assert cost([spot], PRICES) == pytest.approx(2 * 0.36 * 30 / 3600)
    assert bill([spot], PRICES) == "2 x ml.m5.xlarge, billed for 30 s (spot saved 70%): $0.0060"
    assert spot_saving(job(TrainingTimeInSeconds=100, BillableTimeInSeconds=100)) is None
    state = run_state("r-1", [spot], PRICES)
    assert (state.usd, state.spot_saving) == (0.006, 0.7)


def test_the_story_is_told_from_where_it_was_left() -> None:
    told = [
        {"Status": status, "StartTime": BEGAN, "StatusMessage": "words"}
        for status in ("Starting", "Interrupted", "Failed", "SomethingNew")
    ]
    lines = list(story({"SecondaryStatusTransitions": told}, 0))
    assert lines[0] == "12:00:00 starting its instances"
    assert "spot capacity was interrupted" in lines[1]
    assert lines[2].endswith("job failed (words)")
    assert lines[3].endswith("SomethingNew")
    assert list(story({"SecondaryStatusTransitions": told}, 3)) == lines[3:]
