"""The stack's monthly budget. It only notifies, so a subscription that can't have budgets is deployed without one.

The plugin's resource is unsuitable: changing a budget requires its eTag, which the plugin does not send, and the update
would fail if Azure rejects the budget.
https://learn.microsoft.com/azure/cost-management-billing/costs/understand-cost-mgt-data#supported-microsoft-azure-offers
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pulumi
from pulumi import dynamic

from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.session import arm_of
from llmops_kit.core.errors import KitError
from llmops_kit.infra.targets.azure.providers.located import AzureLocatedResource, LocatedProvider
from llmops_kit.infra.targets.dynamic import Properties, gone, say

_REFUSED = (400, 422)
"""Status of Azure's response if an offer has no budgets: https://github.com/Azure/azure-powershell/issues/11642 (a
sponsored one), https://github.com/Azure/azure-powershell/issues/17485 (a partner's).
"""


class BudgetProvider(LocatedProvider):
    """Puts a budget. Output refused: Azure's message if the subscription can't have one."""

    KEY = "budget"

    def put(self, props: Properties) -> Properties:
        """Put it, with the start month of an existing one. Output refused: Azure's message if it is rejected."""
        arm = arm_of(props)
        found = arm.find(props["budget"]) or {}
        begun = found.get("properties", {}).get("timePeriod") or {
            "startDate": f"{datetime.now(UTC):%Y-%m}-01T00:00:00Z"
        }
        body = {"properties": {**json.loads(props["content"]), "timePeriod": begun}}
        try:
            arm.put(props["budget"], body | ({"eTag": found["eTag"]} if found else {}))
        except KitError as e:
            if getattr(e.__cause__, "status_code", 0) not in _REFUSED:
                raise
            say(
                f"warning: this stack has no budget, so nobody is notified of its costs: {e.what}. "
                "`llmops:azure.budget.monthly_usd: 0` turns it off"
            )
            return {"refused": e.what}
        return {"refused": ""}

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Reports a missing budget as gone; one that Azure refused is not requested again until its settings change."""
        if not props.get("refused") and arm_of(props).find(props["budget"]) is None:
            return gone()
        return dynamic.ReadResult(id_, props)

    def delete(self, _id: str, _props: Properties) -> None:
        """Remove it if it exists."""
        arm_of(_props).delete(_props["budget"])


class MonthlyBudget(AzureLocatedResource, module="llmops", name="Budget"):
    """Outputs: budget, content, refused."""

    PROVIDER, COMPUTED = BudgetProvider, ("refused",)

    def __init__(
        self,
        name: str,
        location: AzureLocation,
        opts: pulumi.ResourceOptions,
        *,
        budget: str,
        properties: Mapping[str, Any],
    ) -> None:
        """Declare the budget with this resource id, and properties as in Azure's API, but without a start."""
        content = pulumi.Output.json_dumps(properties, sort_keys=True)  # the engine would turn its integers into floats
        super().__init__(name, location, opts, budget=budget, content=content)
