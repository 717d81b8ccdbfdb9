"""What a plan says of a stack on Azure, from resources as a preview shows them."""

from typing import Any

import pytest

from llmops_kit.cli.interfaces.changes import ResourceChange
from llmops_kit.cli.interfaces.costs import endpoint_costs, total
from llmops_kit.cli.interfaces.endpoint_plans import EndpointPlan
from llmops_kit.cli.interfaces.quotas import Machines
from llmops_kit.cli.machines.prices import Prices
from llmops_kit.cli.plan.azure import (
    CLUSTER,
    DEPLOYMENT,
    QUERY_ALERT,
    REGISTRY,
    SCALING,
    TRAFFIC,
    plan_endpoints,
    resource_costs,
    run_machines,
    warnings,
)
from llmops_kit.policies.model import Resource
from llmops_kit.settings.resolved import ResolvedStack
from llmops_kit.settings.stack_settings import Settings
from tests.support.clouds.settings import resolved

NEW, LIVE = "chatbot-2-abc", "chatbot-1-abc"
LOGICAL = f"deployment-chatbot-{NEW}"
UNKNOWN: Any = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
STAMP = {"source": "list", "date": "2026-11-20"}
TABLE = {
    "regions": {
        "westeurope": {
            "hosting": {**STAMP, "prices": {"Standard_DS3_v2": 0.272}},
            "alerts": {**STAMP, "prices": {"query_alert_month": 1.46}},
            "registry": {**STAMP, "prices": {"registry_basic_day": 0.24, "registry_premium_day": 2.4}},
        }
    }
}


def stack(rollout: dict[str, Any], instances: Any = 4, scaling: dict[str, Any] | None = None) -> list[Resource]:
    """Resources of an endpoint `chatbot`."""
    deployment = {"properties": {"instanceType": "Standard_DS3_v2"}, "sku": {"capacity": instances}}
    found = [
        Resource(TRAFFIC, "traffic-chatbot", {"deployment": NEW, "rollout": rollout}),
        Resource(DEPLOYMENT, LOGICAL, deployment),
    ]
    return [*found, *([Resource(SCALING, "scaling-chatbot", scaling)] if scaling else [])]


def planned(rollout: dict[str, Any], change: str = "create", deployed: bool = True, **more: Any) -> EndpointPlan:
    changes = [ResourceChange(change, "online deployment", LOGICAL)] if change != "none" else []
    before = {"chatbot": f"chatbot@1@sha256:{'1' * 64}"} if deployed else {}
    entries = {"chatbot": {"model": f"chatbot@2@sha256:{'2' * 64}", "size": {"instances": 3}}}
    endpoints = resolved(Settings.model_validate({"target": "azure", "endpoints": entries})).endpoints
    (found,) = plan_endpoints(stack(rollout, **more), changes, endpoints, before)
    return found


@pytest.mark.parametrize(
    ("rollout", "words", "seconds"),
    [
        ({"strategy": "all_at_once", "bake_seconds": 60}, "all at once, beside the old ones", 60),
        ({"strategy": "canary", "canary_percent": 25, "bake_seconds": 60}, "canary: 25 %, 100 %", 120),
        ({"strategy": "linear", "step_percent": 50, "bake_seconds": 60}, "linear: 50 %, 100 %", 120),
        (
            {"strategy": "canary", "canary_percent": 5, "mirror_percent": 20, "bake_seconds": 60},
            "canary: copies of 20 %, 5 %, 100 %",
            180,
        ),
        (
            {
                "strategy": "canary",
                "canary_percent": 9,
                "bake_seconds": 60,
                "extra_bakes": 3,
                "on_inconclusive": "roll_back",
            },
            "canary: 9 %, 100 %; up to 180 s more without enough evidence, then roll_back",
            120,
        ),
    ],
)
def test_the_rollout_and_the_machines_that_it_takes(rollout: dict[str, Any], words: str, seconds: int) -> None:
    plan = planned(rollout)
    assert (plan.strategy, plan.at_least_seconds, plan.during_update) == (words, seconds, 8)
    assert (plan.change, plan.before, plan.after) == ("update", "chatbot@1", "chatbot@2")


def test_a_first_deployment_and_one_that_stays_take_no_more_machines() -> None:
    first, stays = planned({}, deployed=False), planned({}, "none")
    assert (first.change, first.strategy, first.during_update) == ("create", "first deployment", 4)
    assert (stays.change, stays.strategy, stays.during_update) == ("none", "stays", 4)


def test_one_machine_is_an_outage_waiting_to_happen() -> None:
    assert any("outage" in note for note in planned({}, instances=1).notes)
    assert not planned({}, instances=2).notes


def test_the_count_of_the_stack_file_where_it_is_known_after_up_only() -> None:
    assert planned({}, instances=UNKNOWN).instances == 3


def test_costs_by_scaling_registry_and_alerts() -> None:
    capacity = {"profiles": [{"capacity": {"minimum": "1", "maximum": "3", "default": "1"}}]}
    resources = [
        *stack({}, 1, capacity),
        Resource(REGISTRY, "registry", {"sku": {"name": "Premium"}}),
        Resource(QUERY_ALERT, "alert-chatbot-errors", {}),
        Resource(QUERY_ALERT, "alert-chatbot-quality", {}),
        Resource("azure-native:monitor:MetricAlert", "alert-chatbot-latency", {}),
        Resource("azure-native:storage:StorageAccount", "storage", {}),
    ]
    prices = Prices("westeurope", TABLE)
    endpoints = plan_endpoints(resources, [], {}, {})
    lines = [*endpoint_costs(endpoints, prices), *resource_costs(resources, prices)]
    assert {line.what: (line.idle, line.busy) for line in lines} == {
        "endpoint chatbot: 1 to 3 x Standard_DS3_v2": (0.272, pytest.approx(0.816)),
        "2 query alerts": (pytest.approx(0.004), pytest.approx(0.004)),
        "1 metric alerts": (None, None),
        "container registry (Premium)": (pytest.approx(0.1), pytest.approx(0.1)),
        "what the storage accounts hold, and requests": (None, None),
    }
    assert {line.source for line in lines if line.idle is not None} == {"list, 2026-11-20"}
    assert total(lines, busy=False).unknown == ["1 metric alerts", "what the storage accounts hold, and requests"]


@pytest.mark.parametrize(("archive", "copied"), [({}, 0), ({"storageAccountId": UNKNOWN}, 1)])
def test_copies_of_audit_logs_are_paid_for_by_use(archive: dict[str, str], copied: int) -> None:
    diagnostics = [Resource("azure-native:monitor:DiagnosticSetting", f"diagnostics-{n}", archive) for n in range(2)]
    lines = list(resource_costs(diagnostics, Prices("westeurope", TABLE)))
    assert [(line.what, line.idle) for line in lines] == [("copies of audit logs", None)] * copied


def of_azure(azure: dict[str, Any]) -> ResolvedStack:
    return resolved(Settings.model_validate({"target": "azure", "azure": azure}))


def test_what_nobody_is_told_of_and_what_costs_without_a_run_is_warned_of() -> None:
    alerts = [Resource(QUERY_ALERT, "alert", {})]
    azure: dict[str, Any] = {"computes": {"gpu": {"min_nodes": 2, "max_nodes": 2}, "cpu": {}}}
    assert [w.partition(":")[0] for w in warnings(alerts, of_azure(azure))] == [
        "nobody is notified of alerts and costs",
        "cluster gpu keeps 2 machines that are paid for without a run",
    ]
    assert warnings(alerts, of_azure({"budget": {"monthly_usd": 10, "emails": ["a@b.c"]}})) == []


def test_runs_take_the_nodes_of_all_clusters() -> None:
    def cluster(name: str, priority: str, nodes: Any, size: Any = "Standard_DS3_v2") -> Resource:
        inner = {"vmSize": size, "vmPriority": priority, "scaleSettings": {"minNodeCount": 0, "maxNodeCount": nodes}}
        return Resource(CLUSTER, name, {"properties": {"computeType": "AmlCompute", "properties": inner}})

    clusters = [cluster("a", "Dedicated", 2), cluster("b", "Dedicated", 3), cluster("c", "LowPriority", 4)]
    unknown = [cluster("d", "Dedicated", UNKNOWN), cluster("e", "Dedicated", 1, UNKNOWN)]
    assert run_machines([*clusters, *unknown], of_azure({})) == {
        Machines("training job", "Standard_DS3_v2"): 5,
        Machines("spot training job", "Standard_DS3_v2"): 4,
    }
