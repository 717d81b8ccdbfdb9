"""Microsoft.Insights: autoscale settings, action groups, alert rules, diagnostic settings.

https://learn.microsoft.com/rest/api/monitor/

Unsure (70 %): the limits are the reference's, which names no codes; codes and messages are assumed.
"""

import re
import uuid

from llmops_twins.azure.monitor.services import insights_bodies as monitor_bodies
from llmops_twins.azure.protocol import body_checks
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, timestamp
from llmops_twins.azure.protocol.ids import Id, key
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

AUTOSCALE = "Microsoft.Insights/autoscaleSettings"
ACTION_GROUPS = "Microsoft.Insights/actionGroups"
METRIC_ALERTS = "Microsoft.Insights/metricAlerts"
QUERY_RULES = "Microsoft.Insights/scheduledQueryRules"
DIAGNOSTICS = "Microsoft.Insights/diagnosticSettings"
MOST_DIAGNOSTICS = 5
_NAME = r"[^/<>%&\\?#*:+,|]{0,259}[^/<>%&\\?#*:+,|. ]"
_DURATION = re.compile(r"P(?=.)(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+S)?)?")
_RECEIVERS = ("emailReceivers", "smsReceivers", "webhookReceivers", "azureFunctionReceivers", "armRoleReceivers")


def install(twin: TenantTwin) -> None:
    """Registers the kinds."""
    plain = {"name": _NAME, "location": True, "provisioning": False}
    for type_, put in (
        (AUTOSCALE, _put_autoscale),
        (ACTION_GROUPS, _put_action_group),
        (METRIC_ALERTS, _put_metric_alert),
        (QUERY_RULES, _put_query_rule),
    ):
        twin.kind(ResourceKind(type_, put=put, **plain))
    twin.kind(
        ResourceKind(
            DIAGNOSTICS,
            put=_put_diagnostics,
            patch=False,
            name=_NAME,
            scopes=("resource", "subscription"),
            provisioning=False,
            codes=(200, 200),
            outlives=True,
        )
    )


def seconds_of(duration: str, path: str) -> int:
    """Returns the seconds of an ISO 8601 duration ("PT5M").

    Raises:
        ArmError: 400, it is not such a duration.
    """
    if not _DURATION.fullmatch(duration):
        raise body_checks.refused(f"The value {duration!r} is not a duration.", path)
    parts = {unit: int(number) for number, unit in re.findall(r"(\d+)([DHMS])", duration)}
    return sum(parts.get(unit, 0) * size for unit, size in (("D", 86_400), ("H", 3600), ("M", 60), ("S", 1)))


def _put_autoscale(twin: TenantTwin, call: ArmCall, _there: Document | None) -> Document:
    body = monitor_bodies.AUTOSCALE.judged(call)
    properties = body["properties"]
    _require(twin, properties.get("targetResourceUri", ""), "properties.targetResourceUri")
    if not 1 <= len(properties["profiles"]) <= 20:
        raise body_checks.refused("An autoscale setting has 1 to 20 profiles.", "properties.profiles")
    for i, profile in enumerate(properties["profiles"]):
        path = f"properties.profiles[{i}]"
        _check_capacity(profile["capacity"], f"{path}.capacity")
        for j, rule in enumerate(profile["rules"]):
            _check_rule(twin, rule, f"{path}.rules[{j}]")
    properties.setdefault("enabled", True)
    properties.setdefault("name", Id.parse(call.id).name)
    return body


def _check_capacity(capacity: Document, path: str) -> None:
    try:
        least, most, default = (int(capacity[name]) for name in ("minimum", "maximum", "default"))
    except ValueError:
        raise body_checks.refused("minimum, maximum and default are whole numbers, as texts.", path) from None
    if not 1 <= least <= default <= most:
        raise body_checks.refused("1 <= minimum <= default <= maximum must hold.", path)


def _check_rule(twin: TenantTwin, rule: Document, path: str) -> None:
    trigger = rule["metricTrigger"]
    _require(twin, trigger["metricResourceUri"], f"{path}.metricTrigger.metricResourceUri")
    grain = seconds_of(trigger["timeGrain"], f"{path}.metricTrigger.timeGrain")
    window = seconds_of(trigger["timeWindow"], f"{path}.metricTrigger.timeWindow")
    if not 60 <= grain <= 43_200 or not 300 <= window <= 43_200 or grain > window:
        message = "timeGrain is 1 minute to 12 hours, timeWindow 5 minutes to 12 hours and no less than timeGrain."
        raise body_checks.refused(message, f"{path}.metricTrigger")
    if not 60 <= seconds_of(rule["scaleAction"]["cooldown"], f"{path}.scaleAction.cooldown") <= 604_800:
        raise body_checks.refused("The cooldown is 1 minute to 1 week.", f"{path}.scaleAction.cooldown")
    rule["scaleAction"].setdefault("value", "1")


def _put_action_group(_twin: TenantTwin, call: ArmCall, _there: Document | None) -> Document:
    body = monitor_bodies.ACTION_GROUP.judged(call)
    if body["location"] not in ("global", "swedencentral", "germanywestcentral", "northcentralus", "southcentralus"):
        raise body_checks.refused(f"Action groups are not in location '{body['location']}': give global.", "location")
    properties = body["properties"]
    if not 1 <= len(properties["groupShortName"]) <= 12:
        raise body_checks.refused("The short name has 1 to 12 characters.", "properties.groupShortName")
    names = [each["name"] for kind in _RECEIVERS for each in properties.setdefault(kind, [])]
    if len({name.lower() for name in names}) != len(names):
        raise body_checks.refused("The names of receivers must be unique in an action group.", "properties")
    for receiver in properties["emailReceivers"]:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", receiver["emailAddress"]):
            raise body_checks.refused(
                f"{receiver['emailAddress']!r} is not an e-mail address.", "properties.emailReceivers"
            )
        receiver["status"] = "Enabled"
    return body


def _put_metric_alert(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = monitor_bodies.METRIC_ALERT.judged(call)
    properties = body["properties"]
    if body["location"] != "global":
        raise body_checks.refused("The location of a metric alert is global.", "location", "InvalidLocation")
    if not 0 <= properties["severity"] <= 4:
        raise body_checks.refused("The severity is 0 to 4.", "properties.severity")
    _check_scopes(twin, properties["scopes"], there, "The scopes of a metric alert cannot be changed.")
    every, window = _times(properties)
    if every not in (60, 300, 900, 1800, 3600) or window not in (60, 300, 900, 1800, 3600, 21_600, 43_200, 86_400):
        raise body_checks.refused(
            "evaluationFrequency is PT1M to PT1H, windowSize PT1M to P1D.", "properties.windowSize"
        )
    if window < every:
        raise body_checks.refused("windowSize must not be less than evaluationFrequency.", "properties.windowSize")
    _check_actions(twin, [each["actionGroupId"] for each in properties.setdefault("actions", [])])
    properties.setdefault("autoMitigate", True)
    properties["lastUpdatedTime"] = timestamp()
    return body


def _put_query_rule(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = monitor_bodies.QUERY_RULE.judged(call)
    properties = body["properties"]
    _check_scopes(twin, properties["scopes"], there, "Scopes of an existing rule cannot be changed.")
    every, window = _times(properties)
    if window < every and not properties.get("overrideQueryTimeRange"):
        raise body_checks.refused("windowSize must not be less than evaluationFrequency.", "properties.windowSize")
    _check_actions(twin, (properties.get("actions") or {}).get("actionGroups") or [])
    properties.setdefault("enabled", True)
    properties["createdWithApiVersion"] = call.api_version
    properties["isLegacyLogAnalyticsRule"] = False
    properties["isWorkspaceAlertsStorageConfigured"] = False
    body["etag"] = f'"{uuid.uuid4()}"'
    return body


def _check_scopes(twin: TenantTwin, scopes: list[str], there: Document | None, changed: str) -> None:
    for scope in scopes:
        _require(twin, scope, "properties.scopes")
    if there and [key(s) for s in there["properties"]["scopes"]] != [key(s) for s in scopes]:
        raise body_checks.refused(changed, "properties.scopes", "BadRequest")


def _times(properties: Document) -> tuple[int, int]:
    """Returns the seconds between evaluations, and the length of their window in seconds."""
    every = seconds_of(properties["evaluationFrequency"], "properties.evaluationFrequency")
    return every, seconds_of(properties["windowSize"], "properties.windowSize")


def _put_diagnostics(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = monitor_bodies.DIAGNOSTICS.judged(call)
    properties = body["properties"]
    sinks = [name for name in monitor_bodies.SINKS if properties.get(name)]
    if not sinks:
        raise body_checks.refused(
            f"At least one of {', '.join(monitor_bodies.SINKS)} is needed.", "properties", "BadRequest"
        )
    for name in sinks[:2]:
        if name != "eventHubAuthorizationRuleId":
            _require(twin, properties[name], f"properties.{name}")
    others = [d for d in twin.children(Id.parse(call.id).scope, DIAGNOSTICS) if _on(d) == _on({"id": call.id})]
    others = [d for d in others if key(d["id"]) != key(call.id)]
    if not there and len(others) >= MOST_DIAGNOSTICS:
        message = f"The limit of {MOST_DIAGNOSTICS} diagnostic settings was reached."
        raise ArmError(409, "Conflict", message)
    for other in others:
        for category in _categories(other["properties"]) & _categories(properties):
            for name in sinks:
                if (other["properties"].get(name) or "").lower() == properties[name].lower():
                    message = f"Data sink '{properties[name]}' is already used in diagnostic setting '{other['name']}' "
                    raise ArmError(409, "Conflict", f"{message}for category '{category}'.")
    return body


def _on(document: Document) -> str:
    return key(Id.parse(document["id"]).scope)


def _categories(properties: Document) -> set[str]:
    lines = [*(properties.get("logs") or []), *(properties.get("metrics") or [])]
    return {each.get("category") or each.get("categoryGroup", "") for each in lines if each.get("enabled")}


def _check_actions(twin: TenantTwin, groups: list[str]) -> None:
    for group in groups:
        found = twin.find(group)
        if found is None or found["type"] != ACTION_GROUPS:
            raise body_checks.refused(f"The action group '{group}' was not found.", "properties.actions", "BadRequest")


def _require(twin: TenantTwin, resource_id: str, path: str) -> None:
    parsed = Id.parse(resource_id)
    subscription = parsed.subscription.lower() == twin.subscription.lower() and not parsed.group
    if not resource_id or (twin.find(resource_id) is None and not subscription):
        raise body_checks.refused(f"The resource '{resource_id}' was not found.", path, "ResourceNotFound")
