"""Scheduled runs are held against their machines; what can't be checked is said, and hides nothing else."""

import pytest

from llmops_kit.cli.commands.plan import _print
from llmops_kit.cli.machines.prices import Prices
from llmops_kit.cli.plan.check import MachineEstimate, TrainingCheck
from llmops_kit.cli.plan.plan import Plan
from llmops_kit.cli.plan.schedules import ScheduledTraining, check_schedules
from llmops_kit.core.documents.recipe_training import Adapter
from llmops_kit.core.documents.run import Compute
from llmops_kit.settings.resolved import ResolvedSchedule


def estimate(machine: str, fits: bool, peak_gb: float, hourly: float | None, own: bool = False) -> MachineEstimate:
    return MachineEstimate(
        machine,
        1,
        "1 x L4 24 GB",
        fits,
        "" if fits else "needs 30.0 of 20.1 GiB for one row",
        1,
        16,
        False,
        False,
        "bf16",
        peak_gb,
        {},
        None,
        None,
        hourly,
        own,
    )


def check(*machines: MachineEstimate, adapter: Adapter = "lora") -> TrainingCheck:
    return TrainingCheck("assistant", adapter, 8_000_000_000, 40_000_000, None, [], list(machines))


def test_a_check_in_a_line() -> None:
    dear, cheap = estimate("ml.p5.48xlarge", True, 35, 50.0), estimate("ml.g6e.xlarge", True, 33, 2.5)
    small = estimate("ml.g6.xlarge", False, 33, 1.0, own=True)
    assert check(small, dear, cheap).words == (
        "ml.g6.xlarge (1 x L4 24 GB): needs 30.0 of 20.1 GiB for one row; "
        "the cheapest that does: ml.g6e.xlarge (1 x L4 24 GB) at 33.0 GB, $2.50 an hour"
    )
    for peak, said in ((20, "20.0 GB"), (0.04, "less than 0.1 GB")):
        alone = check(estimate("ml.g6.xlarge", True, peak, None, own=True))
        assert alone.words == f"ml.g6.xlarge (1 x L4 24 GB) trains it at {said}"
    assert check(small).words.endswith("no machine of the kit's table trains it")


def test_an_own_machine_that_is_too_small_names_qlora_and_the_next_machine() -> None:
    small, larger = (
        estimate("ml.g6.xlarge", False, 33, 1.0, own=True),
        estimate("ml.g6e.xlarge", True, 33, 2.5),
    )
    problem = check(small, larger).problem
    assert problem
    assert problem.where == "ml.g6.xlarge"
    assert problem.fix.startswith("--instance-type ml.g6e.xlarge or `adapter: qlora`")
    quantized = check(small, larger, adapter="qlora").problem
    assert quantized
    assert quantized.fix == "--instance-type ml.g6e.xlarge or a smaller max_tokens"


def test_schedules_of_a_stack_that_is_not_deployed(capsys: pytest.CaptureFixture[str]) -> None:
    weekly = ResolvedSchedule("chatbot-1", "rate(7 days)", "UTC", True, Compute(instance_type="ml.g5.xlarge"))
    found = check_schedules({"weekly": weekly}, None, Prices("us-east-1", {"regions": {"us-east-1": {}}}), print)
    assert found == [
        ScheduledTraining("weekly", "chatbot-1", "ml.g5.xlarge", None, "not checked: the stack is not deployed")
    ]
    _print(Plan("dev", "aws", [], {}, trainings=found))
    assert "schedule weekly, run chatbot-1: not checked: the stack is not deployed" in capsys.readouterr().out
