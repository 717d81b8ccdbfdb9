"""Budgets, and their notifications, which have their own calls."""

from datetime import UTC, datetime
from typing import Any

from llmops_twins.plugins.aws.calls import AwsError, ResourceOperation
from llmops_twins.plugins.aws.kinds import AwsResourceKind
from llmops_twins.plugins.aws.translate import from_api, scalar_from_api, to_api
from llmops_twins.plugins.plugin import PartlyMadeError, ProviderError

NOT_FOUND = ("NotFoundException",)
SUBSCRIBERS = {"EMAIL": "subscriberEmailAddresses", "SNS": "subscriberSnsTopicArns"}


class CostBudget(AwsResourceKind):
    """A budget. The times of its period have their own format."""

    def recorded(self, identity: str) -> dict[str, Any]:
        account, _, name = identity.partition(":")
        return {"accountId": account, "name": name}

    def id_after_create(self, work: ResourceOperation, answer: dict[str, Any]) -> str:
        return f"{self._account(work)}:{work.inputs['name']}"

    def parameters(self, work: ResourceOperation, operation: str) -> dict[str, Any]:
        given = work.inputs
        member = "Budget" if operation == "CreateBudget" else "NewBudget"
        shape = work.shape("budgets", operation).members[member]
        budget = to_api({n: given.get(n) for n in ("budgetType", "timeUnit", "costTypes", "name")}, shape, {}, "Budget")
        if given.get("limitAmount"):
            budget["BudgetLimit"] = {"Amount": given["limitAmount"], "Unit": given.get("limitUnit") or "USD"}
        budget["CostFilters"] = {f["name"]: f["values"] for f in given.get("costFilters") or []}
        times = {"Start": given.get("timePeriodStart"), "End": given.get("timePeriodEnd")}
        budget["TimePeriod"] = {name: _time(text) for name, text in times.items() if text}
        return {"AccountId": self._account(work), member: budget}

    def complete(self, work: ResourceOperation, answer: dict[str, Any]) -> None:
        for notification in work.inputs.get("notifications") or []:
            self._notify(work, notification)

    def call_update(self, work: ResourceOperation) -> None:
        try:
            work.call("budgets", "UpdateBudget", **self.parameters(work, "UpdateBudget"))
        except ProviderError as error:
            raise ProviderError(f"updating Budget ({work.id}): {error}") from None

    def change(self, work: ResourceOperation) -> dict[str, Any]:
        old, new = (list(d.get("notifications") or []) for d in (work.state, work.inputs))
        if work.changed <= {"tags", "tagsAll"}:
            self.call_update(work)
        for notification in old:
            if notification not in new:
                self._forget(work, notification)
        for notification in new:
            if notification not in old:
                self._notify(work, notification)
        return super().change(work)

    def properties_of(self, work: ResourceOperation, answer: dict[str, Any]) -> dict[str, Any]:
        names = ("budgetType", "timeUnit", "costTypes", "name")
        found = from_api(answer, {n: work.rules.inputs[n] for n in names}, {}, "Budget")
        found["accountId"] = self._account(work)
        if "BudgetLimit" in answer:
            found["limitAmount"] = str(answer["BudgetLimit"]["Amount"])
            found["limitUnit"] = answer["BudgetLimit"]["Unit"]
        period = answer.get("TimePeriod", {})
        times = {"timePeriodStart": "Start", "timePeriodEnd": "End"}
        found |= {n: _text(period[api]) for n, api in times.items() if api in period}
        filters = answer.get("CostFilters") or {}
        found["costFilters"] = [{"name": n, "values": v} for n, v in sorted(filters.items())]
        notifications = self._notifications(work)
        return found | ({"notifications": notifications} if notifications else {})

    def readable(self, work: ResourceOperation) -> set[str]:
        names = {"accountId", "arn", "budgetType", "timeUnit", "costTypes", "name", "limitAmount", "limitUnit"}
        return names | {"timePeriodStart", "timePeriodEnd", "costFilters", "notifications", "tagsAll"}

    def _notifications(self, work: ResourceOperation) -> list[dict[str, Any]]:
        found = []
        for told in work.call("budgets", "DescribeNotificationsForBudget", **self._named(work)).get(
            "Notifications", []
        ):
            notification = from_api(told, work.rules.inputs["notifications"][0], {})
            notification.setdefault("thresholdType", "PERCENTAGE")
            try:
                key = {n: v for n, v in told.items() if n != "NotificationState"}
                answer = work.call(
                    "budgets", "DescribeSubscribersForNotification", **self._named(work), Notification=key
                )
            except AwsError as error:
                if not error.is_one_of(NOT_FOUND):
                    raise
                answer = {}
            for subscriber in answer.get("Subscribers", []):
                name = SUBSCRIBERS[subscriber["SubscriptionType"]]
                notification.setdefault(name, []).append(subscriber["Address"])
            found.append(notification)
        return found

    def _notify(self, work: ResourceOperation, notification: dict[str, Any]) -> None:
        subscribers = [
            {"SubscriptionType": kind, "Address": address}
            for kind, name in SUBSCRIBERS.items()
            for address in notification.get(name) or []
        ]
        if not subscribers:
            raise PartlyMadeError("Budget notification must have at least one subscriber!", work.id, dict(work.inputs))
        parameters = {"Notification": _notification(notification), "Subscribers": subscribers}
        work.call("budgets", "CreateNotification", **self._named(work), **parameters)

    def _forget(self, work: ResourceOperation, notification: dict[str, Any]) -> None:
        try:
            work.call("budgets", "DeleteNotification", **self._named(work), Notification=_notification(notification))
        except AwsError as error:
            if not error.is_one_of(NOT_FOUND):  # the creation had stopped halfway
                raise

    def _named(self, work: ResourceOperation) -> dict[str, str]:
        return {"AccountId": self._account(work), "BudgetName": self.values(work)["name"]}

    @staticmethod
    def _account(work: ResourceOperation) -> str:
        return work.properties.get("accountId") or work.session.account


def _notification(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "NotificationType": told["notificationType"],
        "ComparisonOperator": told["comparisonOperator"],
        "Threshold": float(told["threshold"]),
        "ThresholdType": told["thresholdType"],
    }


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d_%H:%M").replace(tzinfo=UTC)


def _text(time: Any) -> str:
    if isinstance(time, datetime):
        return time.astimezone(UTC).strftime("%Y-%m-%d_%H:%M")
    return scalar_from_api(time, "string")
