"""Amazon CloudWatch: metrics, alarms that evaluate and act (moto's alarms never change), dashboards."""

import json
from typing import Any
from weakref import WeakKeyDictionary

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.service_documents import Document, implement_methods, now, page, regions, shelf
from llmops_twins.aws.services import sns
from llmops_twins.aws.services.cloudwatch.alarms import Action, MetricAlarms, states
from llmops_twins.aws.services.cloudwatch.evaluation import AlarmEvaluation, seconds_of
from llmops_twins.aws.services.cloudwatch.metrics import CloudWatchMetric, MetricOperations, put
from llmops_twins.aws.twin import AccountTwin, Tagged

__all__ = ["CloudWatchMetric", "act_on", "put", "seconds_of", "states"]
_SERVICE = "cloudwatch"
_TICK_SECONDS = 0.1
_EVERYWHERE = "aws"  # dashboards belong to no region
_stores: WeakKeyDictionary[AccountTwin, MetricAlarms] = WeakKeyDictionary()


def install(twin: AccountTwin) -> None:
    """Registers the API of https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/Welcome.html."""
    store = _store(twin)
    implement_methods(twin, _SERVICE, MetricOperations(twin))
    implement_methods(twin, _SERVICE, store)
    implement_methods(twin, _SERVICE, _Dashboards(twin))
    twin.tag_sources.append(_tagged)
    act_on(twin, "arn:aws:sns:", lambda region, arn, alarm, change: _publish(twin, region, arn, alarm, change))
    twin.every(_TICK_SECONDS, AlarmEvaluation(twin, store).run)


def act_on(twin: AccountTwin, prefix: str, action: Action) -> None:
    """Registers a function for alarm actions whose ARNs begin with a prefix."""
    _store(twin).on_action(prefix, action)


def _tagged(twin: AccountTwin) -> list[Tagged]:
    """Returns ARN and tags of every alarm."""
    return [
        (arn, tags) for region in regions(twin, _SERVICE) for arn, tags in shelf(twin, _SERVICE, "tags", region).items()
    ]


def _store(twin: AccountTwin) -> MetricAlarms:
    return _stores.setdefault(twin, MetricAlarms(twin))


def _publish(twin: AccountTwin, region: str, arn: str, alarm: Document, change: Document) -> None:
    from moto.core.exceptions import ServiceException
    from moto.sns.models import sns_backends

    reason = sns.may_publish(twin, arn, "cloudwatch.amazonaws.com", alarm["AlarmArn"])
    if reason:
        raise AwsApiError("AuthorizationError", reason)
    home = arn.split(":")[3]
    subject = f'{change["new"]}: "{alarm["AlarmName"]}" in {region}'
    shown = ("AlarmName", "AlarmDescription", "AlarmArn")
    message: dict[str, Any] = {name: alarm.get(name) for name in shown}
    message |= {"AWSAccountId": twin.account, "NewStateValue": change["new"], "NewStateReason": change["reason"]}
    message |= {"OldStateValue": change["old"], "Region": region, "StateChangeTime": change["at"]}
    try:
        sns_backends[twin.account][home].publish(json.dumps(message), arn=arn, subject=subject[:100])
    except ServiceException as e:
        raise AwsApiError("NotFound", str(e)) from e


class _Dashboards:
    """The operations on dashboards, one method each."""

    def __init__(self, twin: AccountTwin) -> None:
        self._twin = twin

    def put_dashboard(self, call: ApiCall) -> Document:
        name, body = call.parameters["DashboardName"], call.parameters["DashboardBody"]
        problems = _problems(body)
        if problems:
            entries = [{"DataPath": path, "Message": text} for path, text in problems]
            text = f"The field DashboardBody must be a valid JSON object: {problems[0][1]}"
            raise AwsApiError("InvalidParameterInput", text, dashboardValidationMessages=entries)
        self._shelf()[name] = {
            "DashboardName": name,
            "DashboardArn": f"arn:aws:cloudwatch::{self._twin.account}:dashboard/{name}",
            "DashboardBody": body,
            "LastModified": now(),
            "Size": len(body.encode()),
        }
        return {"DashboardValidationMessages": []}

    def get_dashboard(self, call: ApiCall) -> Document:
        name = call.parameters["DashboardName"]
        found = self._shelf().get(name)
        if found is None:
            raise AwsApiError("ResourceNotFound", f"Dashboard {name} does not exist", 404)
        return {key: found[key] for key in ("DashboardName", "DashboardArn", "DashboardBody")}

    def list_dashboards(self, call: ApiCall) -> Document:
        prefix = call.parameters.get("DashboardNamePrefix", "")
        kept = ("DashboardName", "DashboardArn", "LastModified", "Size")
        entries = [
            {key: found[key] for key in kept} for name, found in self._shelf().items() if name.startswith(prefix)
        ]
        shown, token = page(entries, call.parameters.get("NextToken"), 1000)
        return {"DashboardEntries": shown, "NextToken": token}

    def delete_dashboards(self, call: ApiCall) -> None:
        names = call.parameters["DashboardNames"]
        missing = [name for name in names if name not in self._shelf()]
        if missing:
            text = f"The specified dashboard does not exist. [{', '.join(missing)}]"
            raise AwsApiError("ResourceNotFound", text, 404)
        for name in names:
            del self._shelf()[name]

    def _shelf(self) -> dict[str, Document]:
        return shelf(self._twin, _SERVICE, "dashboards", _EVERYWHERE)


def _problems(body: str) -> list[tuple[str, str]]:
    try:
        document = json.loads(body)
    except ValueError as e:
        return [("", str(e))]
    widgets = document.get("widgets") if isinstance(document, dict) else None
    if not isinstance(widgets, list):
        return [("/", "Should have an array of widgets")]
    return [
        (f"/widgets/{position}", "Should have a type and properties")
        for position, widget in enumerate(widgets)
        if not isinstance(widget, dict) or not widget.get("type") or not isinstance(widget.get("properties"), dict)
    ]
