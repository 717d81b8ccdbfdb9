"""The stack's monthly budget, which tells and stops nothing: so a subscription that can't have one goes without.

Not the plugin's own resource: a change of a budget has to give its eTag, which the plugin does not send, and what Azure
refuses there ends an update.
https://learn.microsoft.com/azure/cost-management-billing/costs/understand-cost-mgt-data#supported-microsoft-azure-offers
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pulumi
from pulumi import dynamic

from contract.errors import KitError
from infra.targets.azure.session import Place, find, send
from infra.targets.dynamic import KitProvider, Properties, gone, inputs_of, say

_API = "2024-08-01"
_REFUSED = (400, 422)
"""Status of what Azure says of an offer without budgets: https://github.com/Azure/azure-powershell/issues/11642 (a
sponsored one), https://github.com/Azure/azure-powershell/issues/17485 (a partner's).
"""


class BudgetProvider(KitProvider):
    """Puts a budget. Output refused: Azure's words, where it has none for the subscription."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Idempotent."""
        return dynamic.CreateResult(props["budget"], inputs_of(props) | {"refused": _put(props)})

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Another amount, or other people; its months go on."""
        return dynamic.UpdateResult(inputs_of(_news) | {"refused": _put(_news)})

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """One that was refused is not asked for again until its settings change."""
        if not props.get("refused") and find(Place.of(props), props["budget"], _API) is None:
            return gone()
        return dynamic.ReadResult(id_, props)

    def delete(self, _id: str, _props: Properties) -> None:
        """Remove it, if it is there."""
        send(Place.of(_props), "DELETE", _props["budget"], _API)


class Budget(dynamic.Resource, module="llmops", name="Budget"):
    """Outputs: budget, content, refused."""

    def __init__(self, name: str, place: Place, *, budget: str, properties: Mapping[str, Any]) -> None:
        """Declare it.

        Args:
            name: logical name.
            place: where.
            budget: its resource id.
            properties: in the words of Azure's API, but for the time that it begins with.
        """
        content = pulumi.Output.json_dumps(properties, sort_keys=True)  # the engine would make floats of its numbers
        props: dict[str, Any] = {**place._asdict(), "budget": budget, "content": content, "refused": None}
        super().__init__(BudgetProvider(), name, props)


def _put(props: Properties) -> str:
    """Azure's words where it refuses; empty: it is there."""
    place = Place.of(props)
    found = find(place, props["budget"], _API) or {}
    begun = found.get("properties", {}).get("timePeriod") or {"startDate": f"{datetime.now(UTC):%Y-%m}-01T00:00:00Z"}
    body = {"properties": {**json.loads(props["content"]), "timePeriod": begun}}
    try:
        send(place, "PUT", props["budget"], _API, body | ({"eTag": found["eTag"]} if found else {}))
    except KitError as e:
        if getattr(e.__cause__, "status_code", 0) not in _REFUSED:
            raise
        say(
            f"warning: this stack has no budget, nobody will be told of its costs: {e.what}. "
            "`llmops:azure.budget.monthly_usd: 0` leaves it out"
        )
        return e.what
    return ""
