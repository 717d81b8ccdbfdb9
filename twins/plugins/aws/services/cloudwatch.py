"""CloudWatch: alarms, dashboards; log groups; and EventBridge's rules and targets, which Pulumi keeps here too."""

import json
from typing import Any

from twins.plugins.aws.calls import Work
from twins.plugins.aws.kinds import Kind, Part
from twins.plugins.aws.tags import Tagging
from twins.plugins.aws.translate import to_api
from twins.plugins.plugin import ProviderError

ALARM_TAGS = Tagging("TagResource", "UntagResource", "ListTagsForResource", {"ResourceARN": "{arn}"})
NOT_FOUND = ("ResourceNotFound", "ResourceNotFoundException", "ResourceNotFoundFault", "DashboardNotFoundError")


class LogGroup(Kind):
    """A log group is found by listing those that begin with its name."""

    def call_read(self, work: Work) -> dict[str, Any] | None:
        groups = work.call("logs", "DescribeLogGroups", logGroupNamePrefix=work.id)["logGroups"]
        group = next((g for g in groups if g["logGroupName"] == work.id), None)
        if group is not None:
            group["arn"] = group["arn"].removesuffix(":*")
            group.setdefault("retentionInDays", 0)
        return group

    def call_delete(self, work: Work) -> None:
        if not work.state.get("skipDestroy"):
            super().call_delete(work)


class MetricFilter(Kind):
    """A filter of a log group: one transformation here, a list of one in the API; a default is a number as text."""

    def call_create(self, work: Work) -> dict[str, Any]:
        given = work.inputs["metricTransformation"]
        made = {_TRANSFORMATION[name]: value for name, value in given.items() if name in _TRANSFORMATION}
        if made.get("defaultValue"):
            made["defaultValue"] = float(made["defaultValue"])
        flag = {n: work.inputs[n] for n in ("applyOnTransformedLogs",) if n in work.inputs}
        pattern = work.inputs["pattern"].strip()
        place = {"logGroupName": work.inputs["logGroupName"], "filterName": work.inputs["name"]}
        work.call("logs", "PutMetricFilter", **place, filterPattern=pattern, metricTransformations=[made], **flag)
        return {}

    def call_update(self, work: Work) -> None:
        self.call_create(work)

    def call_read(self, work: Work) -> dict[str, Any] | None:
        group = work.properties["logGroupName"]
        answer = work.call("logs", "DescribeMetricFilters", logGroupName=group, filterNamePrefix=work.id)
        return next((f for f in answer["metricFilters"] if f["filterName"] == work.id), None)

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        found = answer["metricTransformations"][0]
        transformation = {name: found[key] for name, key in _TRANSFORMATION.items() if found.get(key)}
        if "defaultValue" in transformation:
            transformation["defaultValue"] = f"{transformation['defaultValue']:g}"
        return {
            "name": answer["filterName"],
            "logGroupName": answer.get("logGroupName") or work.properties["logGroupName"],
            "pattern": answer["filterPattern"],
            "metricTransformation": {"unit": "None"} | transformation,
            "applyOnTransformedLogs": answer.get("applyOnTransformedLogs", False),
        }

    def call_delete(self, work: Work) -> None:
        work.call("logs", "DeleteMetricFilter", logGroupName=work.state["logGroupName"], filterName=work.id)


_TRANSFORMATION = {
    "name": "metricName",
    "namespace": "metricNamespace",
    "value": "metricValue",
    "defaultValue": "defaultValue",
    "dimensions": "dimensions",
    "unit": "unit",
}


class MetricAlarm(Kind):
    """An alarm on a metric: its threshold is 0 when none is given. The API keeps a query's metric one level deeper."""

    def parameters(self, work: Work, operation: str) -> dict[str, Any]:
        found = super().parameters(work, operation)
        if "ThresholdMetricId" not in found and "EvaluationCriteria" not in found:
            found.setdefault("Threshold", 0.0)
        shape = work.shape("cloudwatch", operation).members["Metrics"].member.members["MetricStat"].members["Metric"]
        for given, query in zip(work.inputs.get("metricQueries") or [], found.get("Metrics", []), strict=True):
            if given.get("metric"):
                query["MetricStat"]["Metric"] = to_api(given["metric"], shape, {})
        return found

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        for query in answer.get("Metrics", []):
            if "MetricStat" in query:
                query["MetricStat"] |= query["MetricStat"].pop("Metric", {})
        return super().properties_of(work, answer)


class EventRule(Kind):
    """A rule of the default bus, or of BUS in BUS/NAME."""

    def id_after_create(self, work: Work, answer: dict[str, Any]) -> str:
        bus = work.inputs.get("eventBusName") or "default"
        return work.inputs["name"] if bus == "default" else f"{bus}/{work.inputs['name']}"

    def call_read(self, work: Work) -> dict[str, Any] | None:
        bus, _, name = work.id.rpartition("/")
        work.state = {**work.state, "name": name, "eventBusName": bus or "default"}
        return super().call_read(work)

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        found = super().properties_of(work, answer)
        return {
            **found,
            "eventBusName": work.properties["eventBusName"],
            "isEnabled": answer.get("State") != "DISABLED",
        }

    def call_delete(self, work: Work) -> None:
        if work.state.get("forceDestroy"):
            target = {"Name": work.state["name"], "EventBusName": work.state.get("eventBusName") or "default"}
            work.call("events", "DeleteRule", Force=True, **target)
        else:
            super().call_delete(work)


class EventTarget(Kind):
    """One target of a rule."""

    def call_create(self, work: Work) -> dict[str, Any]:
        shape = work.shape("events", "PutTargets").members["Targets"].member
        target = to_api({n: v for n, v in work.inputs.items() if n != "rule"}, shape, self.renames)
        answer = work.call("events", "PutTargets", **self._place(work), Targets=[target])
        for failed in answer.get("FailedEntries", []):
            raise ProviderError(
                f"creating {self.label} ({target['Id']}): {failed['ErrorCode']}: {failed['ErrorMessage']}"
            )
        return {}

    def call_update(self, work: Work) -> None:
        self.call_create(work)

    def id_after_create(self, work: Work, answer: dict[str, Any]) -> str:
        bus = work.inputs.get("eventBusName") or "default"
        words = [work.inputs["rule"], work.inputs["targetId"]]
        return "-".join(words if bus == "default" else [bus, *words])

    def call_read(self, work: Work) -> dict[str, Any] | None:
        targets = work.call("events", "ListTargetsByRule", **self._place(work))["Targets"]
        return next((t for t in targets if t["Id"] == work.properties["targetId"]), None)

    def readable(self, work: Work) -> set[str]:
        return set(work.rules.inputs) - {"rule", "eventBusName", "forceDestroy", "region"}

    def call_delete(self, work: Work) -> None:
        force: dict[str, Any] = {"Force": True} if work.state.get("forceDestroy") else {}
        answer = work.call("events", "RemoveTargets", **self._place(work), Ids=[work.state["targetId"]], **force)
        for failed in answer.get("FailedEntries", []):
            raise ProviderError(f"deleting {self.label} ({work.id}): {failed['ErrorCode']}: {failed['ErrorMessage']}")

    @property
    def silent(self) -> frozenset[str]:
        return frozenset({"forceDestroy"})

    @staticmethod
    def _place(work: Work) -> dict[str, str]:
        known = work.properties
        return {"Rule": known["rule"], "EventBusName": known.get("eventBusName") or "default"}


class Dashboard(Kind):
    """A dashboard."""

    def properties_of(self, work: Work, answer: dict[str, Any]) -> dict[str, Any]:
        found = super().properties_of(work, answer)
        if isinstance(found.get("dashboardBody"), dict):
            found["dashboardBody"] = json.dumps(found["dashboardBody"])
        return found


KINDS = (
    LogGroup(
        "aws:cloudwatch/logGroup:LogGroup",
        "logs",
        "CloudWatch Logs Log Group",
        "{name}",
        create="CreateLogGroup",
        read="DescribeLogGroups",
        delete="DeleteLogGroup",
        identity={"logGroupName": "{id}"},
        pick="logGroups[0]",
        prefix="logGroup",
        parts=(
            Part(("retentionInDays",), "PutRetentionPolicy", clear="DeleteRetentionPolicy", absent=NOT_FOUND),
            Part(("kmsKeyId",), "AssociateKmsKey", clear="DisassociateKmsKey"),
            Part(("deletionProtectionEnabled",), "PutLogGroupDeletionProtection"),
        ),
        renames={"name": "logGroupName", "arn": "arn", "retentionInDays": "retentionInDays"},
        tags=Tagging("TagResource", "UntagResource", "ListTagsForResource", {"resourceArn": "{arn}"}),
        gone=NOT_FOUND,
        retry_delete=("OperationAbortedException",),
    ),
    MetricFilter(
        "aws:cloudwatch/logMetricFilter:LogMetricFilter",
        "logs",
        "CloudWatch Logs Metric Filter",
        "{name}",
        create="PutMetricFilter",
        read="DescribeMetricFilters",
        update="PutMetricFilter",
        delete="DeleteMetricFilter",
        gone=NOT_FOUND,
    ),
    MetricAlarm(
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        "cloudwatch",
        "CloudWatch Metric Alarm",
        "{name}",
        create="PutMetricAlarm",
        read="DescribeAlarms",
        update="PutMetricAlarm",
        delete="DeleteAlarms",
        identity={},
        read_identity={"AlarmNames": ["{id}"], "AlarmTypes": ["MetricAlarm"]},
        delete_identity={"AlarmNames": ["{id}"]},
        pick="MetricAlarms[0]",
        prefix="Alarm",
        renames={"metricQueries": "Metrics", "metricQueries[].metric": "MetricStat"},
        tags=ALARM_TAGS,
        gone=NOT_FOUND,
    ),
    Kind(
        "aws:cloudwatch/compositeAlarm:CompositeAlarm",
        "cloudwatch",
        "CloudWatch Composite Alarm",
        "{alarmName}",
        create="PutCompositeAlarm",
        read="DescribeAlarms",
        update="PutCompositeAlarm",
        delete="DeleteAlarms",
        identity={},
        read_identity={"AlarmNames": ["{id}"], "AlarmTypes": ["CompositeAlarm"]},
        delete_identity={"AlarmNames": ["{id}"]},
        pick="CompositeAlarms[0]",
        prefix="Alarm",
        tags=ALARM_TAGS,
        gone=NOT_FOUND,
    ),
    Dashboard(
        "aws:cloudwatch/dashboard:Dashboard",
        "cloudwatch",
        "CloudWatch Dashboard",
        "{dashboardName}",
        create="PutDashboard",
        read="GetDashboard",
        update="PutDashboard",
        delete="DeleteDashboards",
        identity={},
        read_identity={"DashboardName": "{id}"},
        delete_identity={"DashboardNames": ["{id}"]},
        gone=NOT_FOUND,
    ),
    EventRule(
        "aws:cloudwatch/eventRule:EventRule",
        "events",
        "EventBridge Rule",
        "{name}",
        create="PutRule",
        read="DescribeRule",
        update="PutRule",
        delete="DeleteRule",
        identity={"Name": "{name}", "EventBusName": "{eventBusName}"},
        tags=Tagging("TagResource", "UntagResource", "ListTagsForResource", {"ResourceARN": "{arn}"}),
        gone=NOT_FOUND,
        retry=("ValidationException: cannot be assumed by principal",),
        retry_delete=("ValidationException: Rule can't be deleted since it has targets",),
    ),
    EventTarget(
        "aws:cloudwatch/eventTarget:EventTarget",
        "events",
        "EventBridge Target",
        "{rule}/{targetId}",
        create="PutTargets",
        read="ListTargetsByRule",
        update="PutTargets",
        delete="RemoveTargets",
        renames={"targetId": "Id"},
        gone=NOT_FOUND,
    ),
)
