"""What Azure ML says of a location's sizes and cores."""

from typing import Any
from unittest import mock

from llmops_kit.cli.interfaces.quotas import Machines
from llmops_kit.cli.platforms.azure.quotas import quotas_for
from llmops_kit.core.errors import KitError

SIZES = {"value": [{"name": "Standard_DS3_v2", "family": "standardDSv2Family", "vCPUs": 4}]}


def usage(value: str, words: str, limit: int) -> dict[str, Any]:
    return {"name": {"value": value, "localizedValue": words}, "limit": limit}


USAGES = [
    usage("TotalDedicatedCores", "Total Cluster Dedicated Regional vCPUs", 350),
    usage("standardDSv2Family", "Standard DSv2 Family Cluster Dedicated vCPUs", 20),
    usage("TotalLowPriorityCores", "Total Cluster LowPriority Regional vCPUs", 10),
]


def answers(refused: bool = False) -> Any:
    error = KitError("no") if refused else None
    arm = mock.Mock(find=mock.Mock(return_value=SIZES, side_effect=error), list=mock.Mock(return_value=USAGES))
    return mock.Mock(subscription="s", arm=arm)


def test_endpoints_and_clusters_share_a_family_and_low_priority_has_one_quota() -> None:
    needed = {
        Machines("endpoint", "Standard_DS3_v2"): 2,
        Machines("training job", "standard_ds3_v2"): 3,
        Machines("spot training job", "Standard_DS3_v2"): 3,
    }
    family, spare = quotas_for(answers(), "westeurope", needed)  # 2 x 4 and a fifth more, and 3 x 4
    assert (family.code, family.needed, family.allowed, family.enough) == ("standardDSv2Family", 22, 20, False)
    assert (spare.needed, spare.allowed, spare.enough) == (12, 10, False)
    assert "Quotas page" in spare.fix


def test_a_size_that_the_location_lacks_and_a_caller_who_may_not_ask_are_told_apart() -> None:
    needed = {Machines("training job", "Standard_NC4as_T4_v3"): 1}
    (lacking,) = quotas_for(answers(), "westeurope", needed)
    (unasked,) = quotas_for(answers(refused=True), "westeurope", needed)
    assert (lacking.enough, lacking.why) == (None, "westeurope does not offer this size for Azure ML")
    assert (unasked.enough, unasked.why) == (None, "Azure's quotas can't be read: no")
