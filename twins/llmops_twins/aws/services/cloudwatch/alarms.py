"""CloudWatch's alarms as documents: put, describe, delete, history, and the actions of a change of state.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CommonErrors.html
"""

import json
from collections.abc import Callable
from typing import Any

from llmops_twins.aws.calls import ApiCall, AwsApiError, not_judged
from llmops_twins.aws.service_documents import Document, now, page, plain, shelf, tag_list, tag_map
from llmops_twins.aws.services.cloudwatch.metric_queries import period_of, refuse_bad_metrics
from llmops_twins.aws.services.cloudwatch.metrics import statistic
from llmops_twins.aws.twin import AccountTwin

SERVICE = "cloudwatch"
_DAY = 86400
_KEPT_EVENTS = 500  # in the history of all alarms of a region
_HELD_SECONDS = 5.0  # real seconds for which a state set by hand lasts: the interval of evaluations on AWS
_UNCHECKED = "Unchecked: Initial alarm creation"
Action = Callable[[str, str, Document, Document], None]
"""Called with the region, the action's ARN, the alarm and the state change."""


def alarms(twin: AccountTwin, region: str) -> dict[str, Document]:
    """Returns all alarms of a region by name, each as DescribeAlarms answers it."""
    return shelf(twin, SERVICE, "alarms", region)


def states(twin: AccountTwin, region: str) -> dict[str, str]:
    """Returns the state of each alarm of a region: OK, ALARM or INSUFFICIENT_DATA."""
    return {name: alarm["StateValue"] for name, alarm in alarms(twin, region).items()}


def delete(twin: AccountTwin, region: str, names: list[str]) -> None:
    """Deletes alarms and their tags; missing ones are ignored."""
    for name in names:
        alarm = alarms(twin, region).pop(name, None)
        if alarm:
            shelf(twin, SERVICE, "tags", region).pop(alarm["AlarmArn"], None)
    twin.changed()


def remember(twin: AccountTwin, region: str, alarm: Document, kind: str, summary: str, data: Document) -> None:
    """Adds to an alarm's history. The kind is ConfigurationUpdate, StateUpdate or Action."""
    entry = {
        "AlarmName": alarm["AlarmName"],
        "AlarmType": "MetricAlarm",
        "Timestamp": now(),
        "HistoryItemType": kind,
        "HistorySummary": summary,
        "HistoryData": json.dumps(data),
    }
    kept = shelf(twin, SERVICE, "history", region).setdefault("all", {"events": []})
    kept["events"] = [*kept["events"][1 - _KEPT_EVENTS :], entry]
    twin.changed()


class MetricAlarms:
    """Operations on alarms, one method each. `act` carries out an alarm's actions."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin
        self._actions: dict[str, Action] = {}

    def on_action(self, prefix: str, action: Action) -> None:
        self._actions[prefix] = action

    def put_metric_alarm(self, call: ApiCall) -> None:
        given = plain(call.parameters)
        _refuse_bad_metric_alarm(given)
        self._put(call, given, {"EvaluationPeriods": 1, "Dimensions": [], **_settings(given)})

    def describe_alarms(self, call: ApiCall) -> Document:
        wanted = call.parameters
        # These ask for composite alarms, which a twin does not have.
        others = "ChildrenOfAlarmName" in wanted or "ParentsOfAlarmName" in wanted
        known = (
            []
            if others or "MetricAlarm" not in wanted.get("AlarmTypes", ["MetricAlarm"])
            else alarms(self._twin, call.region).values()
        )
        found = [alarm for alarm in known if _wanted(alarm, wanted)]
        chosen, token = page(found, wanted.get("NextToken"), wanted.get("MaxRecords"), 50)
        return {"MetricAlarms": chosen, "CompositeAlarms": [], "NextToken": token}

    def describe_alarms_for_metric(self, call: ApiCall) -> Document:
        wanted = plain(call.parameters)

        def watches(alarm: Document) -> bool:
            same = [alarm.get(name) == wanted.get(name) for name in ("MetricName", "Namespace")]
            dimensions = wanted.get("Dimensions")
            return all(same) and (dimensions is None or _sorted(dimensions) == _sorted(alarm["Dimensions"]))

        return {"MetricAlarms": [alarm for alarm in alarms(self._twin, call.region).values() if watches(alarm)]}

    def delete_alarms(self, call: ApiCall) -> None:
        names = call.parameters["AlarmNames"]
        missing = [name for name in names if name not in alarms(self._twin, call.region)]
        if missing:
            raise AwsApiError("ResourceNotFound", f"Alarms not found: {', '.join(missing)}", 404)
        delete(self._twin, call.region, names)

    def describe_alarm_history(self, call: ApiCall) -> Document:
        wanted = plain(call.parameters)
        events = shelf(self._twin, SERVICE, "history", call.region).get("all", {"events": []})["events"]
        found = [
            event
            for event in events
            if wanted.get("AlarmName") in (None, event["AlarmName"])
            and wanted.get("HistoryItemType") in (None, event["HistoryItemType"])
            and event["AlarmType"] in wanted.get("AlarmTypes", ["MetricAlarm", "CompositeAlarm"])
            and wanted.get("StartDate", 0) <= event["Timestamp"] <= wanted.get("EndDate", now())
        ]
        if wanted.get("ScanBy") != "TimestampAscending":
            found.reverse()
        items, token = page(found, wanted.get("NextToken"), wanted.get("MaxRecords"))
        return {"AlarmHistoryItems": items, "NextToken": token}

    def set_alarm_state(self, call: ApiCall) -> None:
        alarm = alarms(self._twin, call.region).get(call.parameters["AlarmName"])
        if alarm is None:
            raise AwsApiError("ResourceNotFound", "", 404)
        data = call.parameters.get("StateReasonData")
        if data is not None:
            try:
                json.loads(data)
            except ValueError as e:
                raise AwsApiError("InvalidFormat", "State reason data is not valid JSON.") from e
        alarm["held"] = now() + _HELD_SECONDS
        self.change(call.region, alarm, call.parameters["StateValue"], call.parameters["StateReason"], data or "")

    def enable_alarm_actions(self, call: ApiCall) -> None:
        self._switch(call, True)

    def disable_alarm_actions(self, call: ApiCall) -> None:
        self._switch(call, False)

    def list_tags_for_resource(self, call: ApiCall) -> Document:
        return {"Tags": tag_list(self._tags(call))}

    def tag_resource(self, call: ApiCall) -> None:
        self._tags(call).update(tag_map(call.parameters["Tags"]))

    def untag_resource(self, call: ApiCall) -> None:
        for key in call.parameters["TagKeys"]:
            self._tags(call).pop(key, None)

    def _put(self, call: ApiCall, given: Document, alarm: Document) -> None:
        name = given["AlarmName"]
        old = alarms(self._twin, call.region).get(name)
        arn = f"arn:aws:cloudwatch:{call.region}:{self._twin.account}:alarm:{name}"
        alarm.update(AlarmName=name, AlarmArn=arn, AlarmConfigurationUpdatedTimestamp=now())
        kept = ("StateValue", "StateReason", "StateReasonData", "StateUpdatedTimestamp", "StateTransitionedTimestamp")
        begin = {"StateValue": "INSUFFICIENT_DATA", "StateReason": _UNCHECKED, "StateUpdatedTimestamp": now()}
        begin["StateTransitionedTimestamp"] = begin["StateUpdatedTimestamp"]
        alarm.update({key: old[key] for key in kept if key in old} if old else begin)
        if old and old["StateValue"] == "ALARM":  # the new configuration keeps the state at first
            alarm["held"] = now() + _HELD_SECONDS
        alarms(self._twin, call.region)[name] = alarm
        tags = shelf(self._twin, SERVICE, "tags", call.region)
        if not old:
            tags[arn] = tag_map(given.get("Tags"))
        verb = "updated" if old else "created"
        data = {"version": "1.0", "type": "Update" if old else "Create"}
        remember(self._twin, call.region, alarm, "ConfigurationUpdate", f'Alarm "{name}" {verb}', data)

    def change(self, region: str, alarm: Document, value: str, reason: str, data: str) -> None:
        """Sets an alarm's state; a change is added to its history and triggers its actions."""
        before, when = alarm["StateValue"], now()
        alarm.update(StateValue=value, StateReason=reason, StateReasonData=data, StateUpdatedTimestamp=when)
        self._twin.changed()
        if before == value:
            return
        alarm["StateTransitionedTimestamp"] = when
        change = {"old": before, "new": value, "reason": reason, "at": when}
        summary = f"Alarm updated from {before} to {value}"
        old_new = {"oldState": {"stateValue": before}, "newState": {"stateValue": value, "stateReason": reason}}
        remember(self._twin, region, alarm, "StateUpdate", summary, {"version": "1.0", **old_new})
        self.act(region, alarm, change)

    def act(self, region: str, alarm: Document, change: Document, only: str = "") -> None:
        """Carries out the actions of an alarm's state; `only` limits them to ARNs with that prefix."""
        if not alarm.get("ActionsEnabled", True):
            return
        member = {"OK": "OKActions", "ALARM": "AlarmActions"}.get(change["new"], "InsufficientDataActions")
        for arn in alarm.get(member, []):
            if not arn.startswith(only):
                continue
            action = next((action for prefix, action in self._actions.items() if arn.startswith(prefix)), None)
            if action is None:
                summary = f"The twin can't carry out action {arn}"
            else:
                try:
                    action(region, arn, alarm, change)
                    summary = f"Successfully executed action {arn}"
                except AwsApiError as e:
                    summary = f"Failed to execute action {arn}. Received error: {e.message}"
            if not only:
                data = {"actionState": summary.split()[0], "notificationResource": arn}
                remember(self._twin, region, alarm, "Action", summary, data)

    def _switch(self, call: ApiCall, enabled: bool) -> None:
        for name in call.parameters["AlarmNames"]:
            alarm = alarms(self._twin, call.region).get(name)
            if alarm:
                alarm["ActionsEnabled"] = enabled

    def _tags(self, call: ApiCall) -> dict[str, str]:
        arn = call.parameters["ResourceARN"]
        tags = shelf(self._twin, SERVICE, "tags", call.region)
        if arn not in tags:
            raise AwsApiError("ResourceNotFoundException", f"Unknown resource: {arn}", 404)
        return tags[arn]


def _settings(given: Document) -> Document:
    empty = {"OKActions": [], "AlarmActions": [], "InsufficientDataActions": []}
    kept = {key: value for key, value in given.items() if key != "Tags"}
    return {"ActionsEnabled": True, **empty, **kept}


def _refuse_bad_metric_alarm(given: Document) -> None:
    for name in ("EvaluationCriteria", "ThresholdMetricId"):
        if given.get(name):
            raise not_judged(f"alarms by {name} (anomaly bands, queries)")
    if bool(given.get("MetricName")) == bool(given.get("Metrics")):
        text = "Exactly one of MetricName, Metrics and EvaluationCriteria must be specified"
        raise AwsApiError("ValidationError", text)
    if given.get("Metrics"):
        refuse_bad_metrics(given)
    else:
        _refuse_bad_statistic(given)
    _refuse_bad_periods(given)


def _refuse_bad_statistic(given: Document) -> None:
    for name in ("Namespace", "Period"):
        if name not in given:
            raise AwsApiError("MissingParameter", f"The parameter {name} is required.")
    if bool(given.get("Statistic")) == bool(given.get("ExtendedStatistic")):
        raise AwsApiError("ValidationError", "Exactly one of Statistic and ExtendedStatistic must be specified.")
    statistic([[0, 1, 0, 0, 0]], given.get("Statistic") or given["ExtendedStatistic"])
    period = given["Period"]
    if period not in (10, 20, 30) and (period < 60 or period % 60):
        raise AwsApiError("ValidationError", "Metric period must be one of 10, 20, 30 or a multiple of 60.")


def _refuse_bad_periods(given: Document) -> None:
    periods, needed = given.get("EvaluationPeriods", 1), given.get("DatapointsToAlarm")
    if needed and needed > periods:
        text = "DatapointsToAlarm must be less than or equal to EvaluationPeriods."
        raise AwsApiError("ValidationError", text)
    period = period_of(given)
    if periods * period > (_DAY if period < 3600 else 7 * _DAY):
        text = "Metrics cannot be checked across more than a day (EvaluationPeriods * Period must be <= 86400)."
        raise AwsApiError("ValidationError", text)
    missing = given.get("TreatMissingData", "missing")
    if missing not in ("missing", "breaching", "notBreaching", "ignore"):
        raise AwsApiError("ValidationError", f"{missing} is not valid for TreatMissingData.")
    for member in ("OKActions", "AlarmActions", "InsufficientDataActions"):
        for arn in given.get(member, []):
            if not arn.startswith("arn:") or len(arn.split(":")) < 6:
                raise AwsApiError("ValidationError", f"Invalid arn syntax: {arn}")


def _wanted(alarm: Document, wanted: Document) -> bool:
    actions = [*alarm["OKActions"], *alarm["AlarmActions"], *alarm["InsufficientDataActions"]]
    prefix = wanted.get("ActionPrefix")
    return (
        ("AlarmNames" not in wanted or alarm["AlarmName"] in wanted["AlarmNames"])
        and alarm["AlarmName"].startswith(wanted.get("AlarmNamePrefix", ""))
        and wanted.get("StateValue") in (None, alarm["StateValue"])
        and (prefix is None or any(arn.startswith(prefix) for arn in actions))
    )


def _sorted(dimensions: list[Document]) -> list[Any]:
    return sorted((entry["Name"], entry["Value"]) for entry in dimensions)
