"""What is looked up before a run starts."""

import pytest

from llmops_kit.cli.interfaces.platform import Run
from llmops_kit.cli.interfaces.quotas import Hire, QuotaNeed
from llmops_kit.cli.machines.prices import Price
from llmops_kit.cli.plan.run_cost import require_quotas, run_cost
from llmops_kit.core.documents.run import Compute, RunSpec, RunState
from llmops_kit.core.errors import KitError
from tests.support.checkout import EXAMPLES

COMPUTE = Compute(instance_type="ml.g5.xlarge", instances=2, spot=True)
EXAMPLE = EXAMPLES / "run-2.json"
PRICE = Price(1.5, "list", "2026-04-21")
NAME = "ml.g5.xlarge for spot training job usage"


def hire(*quotas: QuotaNeed) -> Hire:
    return Hire("eu-central-1", list(quotas), None)


def test_a_quota_that_is_too_small_is_named_with_what_there_is_and_the_way_out() -> None:
    small = QuotaNeed(NAME, "L-1", 2, 0, fix="`aws …` asks for more", needs="a run needs")
    with pytest.raises(KitError) as caught:
        require_quotas(COMPUTE, hire(QuotaNeed("x", "L-2", 2, 2), small), print)
    assert caught.value.what == f"quota L-1: {NAME} allows 0, the run needs 2"
    assert caught.value.where == "2 x ml.g5.xlarge, spot in eu-central-1"
    assert caught.value.fix.startswith("`aws …` asks for more; or take other machines: --instance-type")


def test_what_is_not_known_is_a_notice_and_what_is_enough_is_not_told() -> None:
    said: list[str] = []
    unknown = [QuotaNeed(name, "", 2, None, "AccessDenied") for name in (NAME, "y")]
    require_quotas(COMPUTE, hire(*unknown, QuotaNeed("x", "L-2", 2, 2)), said.append)
    assert said == [f"notice: quota not known: {NAME}, y: AccessDenied"]


def run(usd: float | None, doubt: str = "", status: str = "completed", **compute: object) -> Run:
    machines = Compute.model_validate(COMPUTE.model_dump() | compute)
    spec = RunSpec.load(EXAMPLE).model_copy(update={"compute": machines})
    return Run(spec, RunState.new(id=spec.id, status=status, usd=usd), doubt)


def test_the_largest_cost_is_of_all_machines_until_the_job_is_stopped() -> None:
    compute = Compute(instance_type="ml.g5.xlarge", instances=2, max_hours=10, warm_pool_minutes=30)
    cost = run_cost(compute, Hire("r", [], PRICE, kept_minutes=30, not_counted="disks"), [])
    assert (cost.usd_an_hour, cost.largest_usd, cost.likely_usd) == (3.0, 31.5, None)
    assert cost.words == (
        "cost: likely unknown (no run of this recipe is complete on such machines), "
        "at most $31.50 (2 x ml.g5.xlarge for 10.5 h, without disks; list, 2026-04-21)"
    )


def test_the_likely_cost_is_that_of_complete_runs_on_the_same_machines() -> None:
    others = [run(90.0, doubt="forged"), run(90.0, status="stopped"), run(90.0, spot=False), run(90.0, instances=3)]
    cost = run_cost(COMPUTE, Hire("r", [], PRICE), [run(1.0), run(0.5), run(4.0), run(None), *others])
    assert (cost.likely_usd, cost.likely_from) == (
        1.0,
        "median of 3 complete runs of this recipe on such machines",
    )
    assert "likely $0.2500 (median of 1 complete run of" in run_cost(COMPUTE, Hire("r", [], PRICE), [run(0.25)]).words


def test_an_unknown_price_is_unknown_and_never_nothing() -> None:
    cost = run_cost(COMPUTE, Hire("r", [], None), [])
    assert (cost.usd_an_hour, cost.likely_usd, cost.largest_usd) == (None, None, None)
    assert "likely unknown" in cost.words
    assert "at most unknown (2 x ml.g5.xlarge for 24 h; `llmops plan prices refresh` fetches prices)" in cost.words
    assert "$" not in cost.words
    assert cost.fields()["largest_usd"] is None
