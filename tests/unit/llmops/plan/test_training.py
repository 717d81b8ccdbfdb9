"""What is looked up before a run starts."""

import pytest

from contract.errors import KitError
from contract.run import Compute
from llmops.plan.quotas import QuotaNeed
from llmops.plan.training import Hire, require_quotas

COMPUTE = Compute(instance_type="ml.g5.xlarge", instances=2, spot=True)
NAME = "ml.g5.xlarge for spot training job usage"


def hire(*quotas: QuotaNeed) -> Hire:
    return Hire("eu-central-1", list(quotas))


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
