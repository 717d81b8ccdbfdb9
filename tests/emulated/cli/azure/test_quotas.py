"""What the twin's subscription allows of the machines of a run."""

import pytest

from llmops_kit.cli.plan.run_cost import look_ahead
from llmops_kit.core.documents.run import Compute
from llmops_kit.core.errors import KitError
from tests.emulated.cli.azure.conftest import MakePlatform

ON_REQUEST, SIZE = "Standard_NC24ads_A100_v4", "Standard_DS3_v2"


def test_a_quota_that_is_too_small_is_told_before_anything_is_made(make_platform: MakePlatform) -> None:
    clusters = {"cpu": {"vm_size": SIZE, "max_nodes": 40}, "gpu": {"vm_size": ON_REQUEST}}
    platform = make_platform(computes={**clusters, "spare": {"vm_size": SIZE, "spot": True, "max_nodes": 40}})
    said: list[str] = []
    look_ahead(platform, Compute(instance_type=SIZE, instances=2), "chatbot", said.append)
    (line,) = said
    assert line.startswith("cost: likely unknown")
    assert "without the cluster's `idle_minutes`" in line
    for compute, words in (
        (Compute(instance_type=ON_REQUEST), "standardNCADSA100v4Family for Azure ML allows 0, the run needs 24"),
        (Compute(instance_type=SIZE, instances=30), "standardDSv2Family for Azure ML allows 100, the run needs 120"),
        (Compute(instance_type=SIZE, instances=30, spot=True), "all low-priority machines for Azure ML allows 100"),
    ):
        with pytest.raises(KitError, match=words) as caught:
            look_ahead(platform, compute, "chatbot", said.append)
        assert "Quotas page" in caught.value.fix
