"""Names by which a sweep knows what has no tags: they must be the program's."""

from typing import Any

import pytest

from llmops_kit.cli.machines.prices import Prices
from llmops_kit.cli.platforms.azure.sweep.look import ENDPOINT, GROUP, METRIC_ALERT, REGISTRY, AzureLook, created
from llmops_kit.core.expiry import EXPIRES_TAG
from llmops_kit.infra.resource_names import CloudNames

STAMP = {"source": "list", "date": "2026-11-20"}
TABLE = {"regions": {"westeurope": {"registry": {**STAMP, "prices": {"registry_premium_day": 1.2}}}}}


def look(project: str = "llmops") -> AzureLook:
    arm: Any = None  # nothing is asked
    return AzureLook(arm, "s-1", project, [], {"westeurope": Prices("westeurope", TABLE)})


@pytest.mark.parametrize("project", ["llmops", "My.Project__x", "9lives"])
@pytest.mark.parametrize(
    "stack", ["dev", "dev-a", "Feature_1", "a-very-long-name-of-a-stack-that-is-nearly-everything"]
)
def test_names_are_the_programs(project: str, stack: str) -> None:
    own = CloudNames(project, stack)
    assert look(project).named([stack], "budget", "store") == {own.of("budget"): stack, own.of("store"): stack}


def test_a_thing_is_named_by_its_path_and_whose_it_is_by_its_tags() -> None:
    tags = {"llmops:project": "llmops", "llmops:stack": "dev", EXPIRES_TAG: "2026-12-31T00:00:00Z"}
    workspace = "/subscriptions/s-1/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
    thing = look().thing(ENDPOINT, f"{workspace}/onlineEndpoints/e", tags)
    assert (thing.kind, thing.name, thing.project, thing.stack) == ("endpoint", "w/e", "llmops", "dev")
    assert (thing.data, thing.expires) == (False, "2026-12-31T00:00:00Z")
    group = look().thing(GROUP, "/subscriptions/s-1/resourceGroups/g", tags)
    assert (group.name, group.data) == ("g", True)


def test_what_has_a_fixed_price_costs_by_its_tier() -> None:
    registry = {"location": "westeurope", "sku": {"name": "Premium"}}
    assert look().flat_cost(REGISTRY, registry) == pytest.approx(1.2 * 730 / 24)
    assert look().flat_cost(REGISTRY, {**registry, "sku": {"name": "Basic"}}) is None
    assert look().flat_cost(METRIC_ALERT, registry) is None


def test_when_a_thing_was_made_where_azure_says_so() -> None:
    assert created({}) is None
    made = created({"createdTime": "2026-11-20T10:00:00.1234567Z"})
    assert made
    assert made.isoformat() == "2026-11-20T10:00:00.123456+00:00"
