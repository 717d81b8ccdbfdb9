"""Microsoft.Consumption and Microsoft.CostManagement: budgets. A twin has no costs, so it sends no notifications.

https://learn.microsoft.com/rest/api/consumption/budgets/create-or-update

Unsure (60 %): the limits are the reference's, which names no codes; code and words are assumed.
"""

import functools
import re
import uuid
from datetime import datetime

from llmops_twins.azure import faults
from llmops_twins.azure.protocol import body_checks
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

TYPES = ("Microsoft.Consumption/budgets", "Microsoft.CostManagement/budgets")
MOST_NOTIFICATIONS = 5
_GRAINS = ("Monthly", "Quarterly", "Annually", "BillingMonth", "BillingQuarter", "BillingAnnual")
_DATES = {"properties.timePeriod.startDate": body_checks.DATE, "properties.timePeriod.endDate": body_checks.DATE}
_BODIES = {
    TYPES[0]: body_checks.Body(TYPES[0], values=_DATES),
    # Cost budgets only: they have an amount, and no time grains of reservations.
    TYPES[1]: body_checks.Body(
        TYPES[1], values=_DATES | {"properties.timeGrain": _GRAINS}, required=("properties.amount",)
    ),
}
UNJUDGED = ["budgets: nothing costs anything, so no budget is ever used up, and no notification is sent"]


def install(twin: TenantTwin) -> None:
    """Registers the kinds."""
    for type_, body in _BODIES.items():
        twin.kind(
            ResourceKind(
                type_,
                put=functools.partial(_put, body),
                patch=False,
                name=r"[a-zA-Z0-9_-]{1,63}",
                scopes=("subscription", "group"),
                provisioning=False,
            )
        )
    twin.unjudged += UNJUDGED


def _put(known: body_checks.Body, twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = known.judged(call)
    _check_offer(twin)
    properties = body["properties"]
    _check_time(properties["timePeriod"])
    if not properties["amount"] > 0:
        raise body_checks.refused("The amount of a budget must be greater than 0.", "properties.amount", "400")
    notifications = properties.get("notifications") or {}
    if len(notifications) > MOST_NOTIFICATIONS:
        raise body_checks.refused(f"At most {MOST_NOTIFICATIONS} notifications.", "properties.notifications", "400")
    for name, notification in notifications.items():
        _check_notification(name, notification)
    given = body.pop("eTag", body.pop("etag", "")) or call.headers.get("If-Match", "")
    if there and given.strip('"') not in ("*", there["eTag"].strip('"')):
        message = "The budget was changed meanwhile: its eTag is another. Get the budget again, and give its eTag."
        raise ArmError(409 if given else 400, "EtagMismatch" if given else "EtagMissing", message)
    properties["currentSpend"] = {"amount": 0.0, "unit": "USD"}
    return {"eTag": f'"{uuid.uuid4().hex[:16]}"', "properties": properties}


def _check_offer(twin: TenantTwin) -> None:
    """Refuses a budget if the fault `no_budgets` is active, as for an unsupported offer type.
    https://github.com/Azure/azure-powershell/issues/11642

    Unsure (40 %): which offers are refused today.

    Raises:
        ArmError: 400.
    """
    if faults.take(twin, "no_budgets"):
        message = (
            "Cost Management supports only Enterprise Agreement, Web direct and Microsoft Customer Agreement offer "
            f"types. Subscription {twin.subscription} is not associated with a valid offer type."
        )
        raise ArmError(400, "400", message)


def _check_time(period: Document) -> None:
    start = datetime.fromisoformat(period["startDate"])
    if start.day != 1 or (start.hour, start.minute) != (0, 0):
        raise body_checks.refused(
            "The start date must be the first day of a month.", "properties.timePeriod.startDate", "400"
        )
    end = period.setdefault("endDate", f"{start.year + 10}-{start.month:02}-01T00:00:00Z")
    if datetime.fromisoformat(end).date() <= start.date():
        raise body_checks.refused("The end date must be after the start date.", "properties.timePeriod.endDate", "400")


def _check_notification(name: str, notification: Document) -> None:
    path = f"properties.notifications.{name}"
    if not 0 < notification["threshold"] <= 1000:
        raise body_checks.refused("A threshold is a percentage, above 0 and at most 1000.", f"{path}.threshold", "400")
    contacts = [notification.get(each) for each in ("contactEmails", "contactRoles", "contactGroups")]
    if not any(contacts):
        raise body_checks.refused("Somebody must be told: contactEmails, contactRoles or contactGroups.", path, "400")
    for address in notification.get("contactEmails") or []:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
            raise body_checks.refused(f"{address!r} is not an e-mail address.", f"{path}.contactEmails", "400")
    notification.setdefault("thresholdType", "Actual")
