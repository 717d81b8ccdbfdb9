"""Log Analytics workspaces come back; Application Insights stands on one; budgets have eTags."""

from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure import faults
from llmops_twins.azure.monitor.services import applicationinsights, operationalinsights
from llmops_twins.azure.services import consumption
from tests.support.clouds.azure import Arm, local_twin

LOGS_V, INSIGHTS_V, BUDGET_V = "2023-09-01", "2020-02-02", "2024-08-01"
PLACE = {"location": "westeurope"}


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    return Arm(local_twin(tmp_path, operationalinsights.install, applicationinsights.install, consumption.install))


def workspace(arm: Arm) -> str:
    path = f"{arm.group()}/providers/Microsoft.OperationalInsights/workspaces/logs"
    assert arm.put(path, LOGS_V, PLACE).status in (200, 201)
    arm.pass_time()
    return path


def test_a_deleted_workspace_comes_back_with_its_name(arm: Arm) -> None:
    path = workspace(arm)
    before = arm.get(path, LOGS_V).body["properties"]["customerId"]
    keys = arm.call("POST", f"{path}/sharedKeys", LOGS_V).body
    arm.delete(path, LOGS_V)
    arm.pass_time()
    listed = arm.get("{sub}/providers/Microsoft.OperationalInsights/deletedWorkspaces", LOGS_V).body["value"]
    assert [each["name"] for each in listed] == ["logs"]
    workspace(arm)
    assert arm.get(path, LOGS_V).body["properties"]["customerId"] == before
    assert arm.call("POST", f"{path}/sharedKeys", LOGS_V).body == keys
    arm.delete(path, LOGS_V, force="true")
    arm.pass_time()
    workspace(arm)
    assert arm.get(path, LOGS_V).body["properties"]["customerId"] != before


@pytest.mark.parametrize("properties", [{"retentionInDays": 7}, {"sku": {"name": "Cheap"}}, {"retention": 30}])
def test_a_workspace_is_refused(arm: Arm, properties: dict[str, Any]) -> None:
    path = f"{arm.group()}/providers/Microsoft.OperationalInsights/workspaces/logs"
    assert arm.put(path, LOGS_V, {**PLACE, "properties": properties}).status == 400


def test_insights_stand_on_a_workspace(arm: Arm) -> None:
    path = f"{arm.group()}/providers/Microsoft.Insights/components/insights"
    body: dict[str, Any] = {**PLACE, "kind": "web", "properties": {"Application_Type": "web"}}
    assert arm.put(path, INSIGHTS_V, body).code == "BadRequest"
    body["properties"]["WorkspaceResourceId"] = workspace(arm)
    made = arm.put(path, INSIGHTS_V, body)
    assert made.status == 200
    assert (
        f"InstrumentationKey={made.body['properties']['InstrumentationKey']};"
        in (made.body["properties"]["ConnectionString"])
    )
    again = arm.put(path, INSIGHTS_V, body).body["properties"]
    assert again["InstrumentationKey"] == made.body["properties"]["InstrumentationKey"]
    del body["kind"]
    assert arm.put(path, INSIGHTS_V, body).status == 400


def budget(**changed: Any) -> dict[str, Any]:
    notification = {"enabled": True, "operator": "GreaterThan", "threshold": 80, "contactEmails": ["a@b"]}
    period = {"startDate": "2026-11-01T00:00:00Z"}
    properties = {"category": "Cost", "amount": 10, "timeGrain": "Monthly", "timePeriod": period}
    return {"properties": {**properties, "notifications": {"most": notification}, **changed}}


def test_a_budget_is_changed_by_who_has_seen_it(arm: Arm) -> None:
    path = f"{arm.group()}/providers/Microsoft.Consumption/budgets/monthly"
    made = arm.put(path, BUDGET_V, budget())
    assert made.status == 201
    assert arm.put(path, BUDGET_V, budget(amount=20)).code == "EtagMissing"
    assert arm.put(path, BUDGET_V, {**budget(amount=20), "eTag": '"another"'}).code == "EtagMismatch"
    assert arm.put(path, BUDGET_V, {**budget(amount=20), "eTag": made.body["eTag"]}).status == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": 0},
        {"timePeriod": {"startDate": "2026-11-02T00:00:00Z"}},
        {"timePeriod": {"startDate": "2026-11-01T00:00:00Z", "endDate": "2026-10-01T00:00:00Z"}},
        {"timeGrain": "Daily"},
        {"notifications": {"n": {"enabled": True, "operator": "GreaterThan", "threshold": 80}}},
        {
            "notifications": {
                "n": {"enabled": True, "operator": "GreaterThan", "threshold": 1001, "contactRoles": ["Owner"]}
            }
        },
    ],
)
def test_a_budget_is_refused(arm: Arm, changed: dict[str, Any]) -> None:
    path = f"{arm.group()}/providers/Microsoft.Consumption/budgets/monthly"
    assert arm.put(path, BUDGET_V, budget(**changed)).status == 400


def test_an_offer_may_have_no_budgets(arm: Arm) -> None:
    faults.of(arm.twin).add("no_budgets", {})
    refused = arm.put(f"{arm.group()}/providers/Microsoft.Consumption/budgets/monthly", BUDGET_V, budget())
    assert (refused.status, refused.code) == (400, "400")
    assert "is not associated with a valid offer type" in refused.body["error"]["message"]
