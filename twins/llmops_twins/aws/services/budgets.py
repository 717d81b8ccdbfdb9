"""AWS Budgets: budgets, notifications with subscribers, and tags (moto drops subscribers and tags)."""

import calendar
from datetime import UTC, datetime
from typing import Any

from llmops_twins.aws import faults
from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.policy_evaluator import denials
from llmops_twins.aws.service_documents import Document, implement_methods, now, page, plain, shelf, tag_list, tag_map
from llmops_twins.aws.twin import AccountTwin, Tagged

_EVERYWHERE = "aws"  # budgets belong to no region
_END_OF_TIME = 3706473600.0  # 2087-06-15, AWS's end of a budget without one
_COST_TYPES = {
    **dict.fromkeys(("IncludeCredit", "IncludeDiscount", "IncludeOtherSubscription", "IncludeRecurring"), True),
    **dict.fromkeys(("IncludeRefund", "IncludeSubscription", "IncludeSupport", "IncludeTax", "IncludeUpfront"), True),
    **dict.fromkeys(("UseAmortized", "UseBlended"), False),
}
_UNITS = {"DAILY": 1, "MONTHLY": 31, "QUARTERLY": 92, "ANNUALLY": 366}
_MOST_SUBSCRIBERS = 11
_OPERATIONS = ("CreateBudget", "DeleteBudget", "DescribeBudget", "DescribeBudgets", "UpdateBudget")


def install(twin: AccountTwin) -> None:
    """Registers the API of
    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_Operations_AWS_Budgets.html.
    """
    implement_methods(twin, "budgets", _Budgets(twin))
    for operation in _OPERATIONS:
        twin.before("budgets", operation, lambda call: _refuse_without_billing(twin, call))
    twin.tag_sources.append(_tagged)


def _refuse_without_billing(twin: AccountTwin, call: ApiCall) -> None:
    """Refuses a call if the fault `no_budgets` is active: https://repost.aws/knowledge-center/iam-billing-access.

    Unsure (50 %): the words; those of a policy that is missing give a reason, "because no identity-based policy …".
    """
    if faults.take(twin, "no_budgets"):
        who = f"User: {call.principal} is not authorized to perform: budgets:{call.operation}"
        raise denials.error("budgets", f"{who}: access to billing is not activated")


def _tagged(twin: AccountTwin) -> list[Tagged]:
    """Returns ARN and tags of every budget."""
    return [(_arn(twin, name), budget["tags"]) for name, budget in _documents(twin).items()]


class _Budgets:
    """The operations of AWS Budgets, one method each."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def create_budget(self, call: ApiCall) -> None:
        name = call.parameters["Budget"]["BudgetName"]
        if ":" in name or "\\" in name:
            raise AwsApiError("InvalidParameterException", "Budget name cannot contain the ':' or '\\' characters.")
        if name in _documents(self._twin):
            text = f"Error creating budget: {name} - the budget already exists."
            raise AwsApiError("DuplicateRecordException", text)
        notifications = [
            _with_subscribers(entry["Notification"], entry["Subscribers"])
            for entry in call.parameters.get("NotificationsWithSubscribers", [])
        ]
        _documents(self._twin)[name] = {
            "budget": _completed(call.parameters["Budget"]),
            "notifications": notifications,
            "tags": tag_map(call.parameters.get("ResourceTags")),
        }

    def describe_budget(self, call: ApiCall) -> Document:
        return {"Budget": self._found(call, "get")["budget"]}

    def describe_budgets(self, call: ApiCall) -> Document:
        budgets, token = _page(call, [document["budget"] for document in _documents(self._twin).values()])
        return {"Budgets": budgets, "NextToken": token}

    def update_budget(self, call: ApiCall) -> None:
        new = call.parameters["NewBudget"]
        document = self._by_name(new["BudgetName"], "update")
        document["budget"] = _completed(new, document["budget"])

    def delete_budget(self, call: ApiCall) -> None:
        self._found(call, "delete")
        del _documents(self._twin)[call.parameters["BudgetName"]]

    def create_notification(self, call: ApiCall) -> None:
        document = self._found(call, "create notification for")
        new = _with_subscribers(call.parameters["Notification"], call.parameters["Subscribers"])
        if _position(document, new["notification"]) is not None:
            name = call.parameters["BudgetName"]
            text = f"Error creating notification for budget: {name} - the notification already exists."
            raise AwsApiError("DuplicateRecordException", text)
        document["notifications"].append(new)

    def update_notification(self, call: ApiCall) -> None:
        entry = self._notification(call, "OldNotification")
        entry["notification"] = _notification(call.parameters["NewNotification"])

    def delete_notification(self, call: ApiCall) -> None:
        entry = self._notification(call, "Notification")
        self._found(call, "get")["notifications"].remove(entry)

    def describe_notifications_for_budget(self, call: ApiCall) -> Document:
        document = self._found(call, "get")
        entries = [{**entry["notification"], "NotificationState": "OK"} for entry in document["notifications"]]
        notifications, token = _page(call, entries)
        return {"Notifications": notifications, "NextToken": token}

    def describe_budget_notifications_for_account(self, call: ApiCall) -> Document:
        entries = [
            {"BudgetName": name, "Notifications": [entry["notification"] for entry in document["notifications"]]}
            for name, document in _documents(self._twin).items()
        ]
        found, token = _page(call, entries)
        return {"BudgetNotificationsForAccount": found, "NextToken": token}

    def describe_budget_actions_for_budget(self, call: ApiCall) -> Document:
        self._found(call, "get")
        return {"Actions": []}

    def describe_subscribers_for_notification(self, call: ApiCall) -> Document:
        subscribers, token = _page(call, self._notification(call, "Notification")["subscribers"])
        return {"Subscribers": subscribers, "NextToken": token}

    def create_subscriber(self, call: ApiCall) -> None:
        subscribers = self._notification(call, "Notification")["subscribers"]
        new = call.parameters["Subscriber"]
        if new in subscribers:
            raise AwsApiError("DuplicateRecordException", "Error creating subscriber - the subscriber already exists.")
        _refuse_too_many([*subscribers, new])
        subscribers.append(new)

    def delete_subscriber(self, call: ApiCall) -> None:
        subscribers = self._notification(call, "Notification")["subscribers"]
        _subscriber(subscribers, call.parameters["Subscriber"])
        if len(subscribers) == 1:
            raise AwsApiError("InvalidParameterException", "Notification must have at least one subscriber.")
        subscribers.remove(call.parameters["Subscriber"])

    def update_subscriber(self, call: ApiCall) -> None:
        subscribers = self._notification(call, "Notification")["subscribers"]
        position = _subscriber(subscribers, call.parameters["OldSubscriber"])
        subscribers[position] = call.parameters["NewSubscriber"]

    def list_tags_for_resource(self, call: ApiCall) -> Document:
        return {"ResourceTags": tag_list(self._by_arn(call)["tags"])}

    def tag_resource(self, call: ApiCall) -> None:
        self._by_arn(call)["tags"].update(tag_map(call.parameters["ResourceTags"]))

    def untag_resource(self, call: ApiCall) -> None:
        for key in call.parameters["ResourceTagKeys"]:
            self._by_arn(call)["tags"].pop(key, None)

    def _found(self, call: ApiCall, verb: str) -> Document:
        return self._by_name(call.parameters["BudgetName"], verb)

    def _by_name(self, name: str, verb: str) -> Document:
        document = _documents(self._twin).get(name)
        if document is None:
            raise AwsApiError("NotFoundException", f"Unable to {verb} budget: {name} - the budget doesn't exist.")
        return document

    def _by_arn(self, call: ApiCall) -> Document:
        arn = call.parameters["ResourceARN"]
        for name, document in _documents(self._twin).items():
            if _arn(self._twin, name) == arn:
                return document
        raise AwsApiError("NotFoundException", f"Unable to find the resource {arn}.")

    def _notification(self, call: ApiCall, member: str) -> Document:
        document = self._found(call, "get")
        position = _position(document, _notification(call.parameters[member]))
        if position is None:
            name = call.parameters["BudgetName"]
            text = f"Unable to get notification: for budget {name} - the notification doesn't exist."
            raise AwsApiError("NotFoundException", text)
        return document["notifications"][position]


def _documents(twin: AccountTwin) -> dict[str, Document]:
    return shelf(twin, "budgets", "budgets", _EVERYWHERE)


def _arn(twin: AccountTwin, name: str) -> str:
    return f"arn:aws:budgets::{twin.account}:budget/{name}"


def _completed(budget: Document, old: Document | None = None) -> Document:
    _refuse_bad_budget(budget)
    new = plain(budget)
    for limit in [new.get("BudgetLimit"), *new.get("PlannedBudgetLimits", {}).values()]:
        if limit:
            limit["Amount"] = _amount(limit["Amount"])
    if new["BudgetType"] == "COST" and "FilterExpression" not in new and "Metrics" not in new:
        new["CostTypes"] = {**_COST_TYPES, **new.get("CostTypes", {})}
    old_period = (old or {}).get("TimePeriod", {})
    begin = old_period.get("Start") or _first_day()
    new["TimePeriod"] = {"Start": begin, "End": _END_OF_TIME, **old_period, **new.get("TimePeriod", {})}
    spend = {"Amount": "0.0", "Unit": new.get("BudgetLimit", {}).get("Unit", "USD")}
    new["CalculatedSpend"] = {"ActualSpend": spend}
    new["LastUpdatedTime"] = now()
    new["HealthStatus"] = {"Status": "HEALTHY", "LastUpdatedTime": new["LastUpdatedTime"]}
    return new


def _refuse_bad_budget(budget: Document) -> None:
    limits = [name for name in ("BudgetLimit", "PlannedBudgetLimits", "AutoAdjustData") if budget.get(name)]
    if not limits:
        raise AwsApiError("InvalidParameterException", "Unable to create/update budget - please provide one of the followings: Budget Limit/ Planned Budget Limit/ Auto Adjust Data")  # fmt: skip # noqa: E501
    unit = budget["TimeUnit"]
    if unit not in (*_UNITS, "CUSTOM"):
        raise AwsApiError("InvalidParameterException", f"Invalid time unit: {unit}")
    if bool(budget.get("FilterExpression")) and bool(budget.get("CostFilters")):
        raise AwsApiError("InvalidParameterException", "CostFilters and FilterExpression cannot be used together.")
    amount = (budget.get("BudgetLimit") or {}).get("Amount")
    if amount is not None and float(amount) < 0:
        raise AwsApiError("InvalidParameterException", "Budget limit amount must be positive.")


def _amount(text: str) -> str:
    # AWS returns "100" as "100.0", and leaves amounts with a fraction unchanged.
    return text if "." in text else f"{text}.0"


def _first_day() -> float:
    today = datetime.now(UTC)
    return float(calendar.timegm((today.year, today.month, 1, 0, 0, 0)))


def _with_subscribers(notification: Document, subscribers: list[Document]) -> Document:
    if not subscribers:
        raise AwsApiError("InvalidParameterException", "Notification must have at least one subscriber.")
    _refuse_too_many(subscribers)
    return {"notification": _notification(notification), "subscribers": plain(subscribers)}


def _refuse_too_many(subscribers: list[Document]) -> None:
    topics = [subscriber for subscriber in subscribers if subscriber["SubscriptionType"] == "SNS"]
    if len(subscribers) > _MOST_SUBSCRIBERS or len(topics) > 1 or len(subscribers) - len(topics) > 10:
        raise AwsApiError(
            "CreationLimitExceededException", "A notification takes one SNS topic and 10 email subscribers."
        )


def _notification(notification: Document) -> Document:
    kept = {key: value for key, value in plain(notification).items() if key != "NotificationState"}
    return {"ThresholdType": "PERCENTAGE", **kept}


def _position(document: Document, notification: Document) -> int | None:
    for position, entry in enumerate(document["notifications"]):
        if entry["notification"] == notification:
            return position
    return None


def _subscriber(subscribers: list[Document], wanted: Document) -> int:
    if wanted not in subscribers:
        raise AwsApiError("NotFoundException", "Unable to find the subscriber - the subscriber doesn't exist.")
    return subscribers.index(wanted)


def _page(call: ApiCall, items: list[Any]) -> tuple[list[Any], str | None]:
    return page(items, call.parameters.get("NextToken"), call.parameters.get("MaxResults"))
