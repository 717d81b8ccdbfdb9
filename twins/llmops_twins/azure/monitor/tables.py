"""The tables of Log Analytics that online endpoints write to through their diagnostic settings.

https://learn.microsoft.com/azure/azure-monitor/reference/supported-logs/microsoft-machinelearningservices-workspaces-onlineendpoints-logs
"""

from typing import Any

from llmops_twins.azure.monitor.kql import QueryError, Table
from llmops_twins.azure.protocol.ids import Id, key
from llmops_twins.azure.telemetry import lines
from llmops_twins.azure.telemetry.metering import RequestMeter
from llmops_twins.azure.twin import TenantTwin

CONSOLE, TRAFFIC, EVENTS = (f"AmlOnlineEndpoint{kind}Log" for kind in ("Console", "Traffic", "Event"))
_DIAGNOSTICS = "Microsoft.Insights/diagnosticSettings"
_COMMON = ("TimeGenerated", "_ResourceId", "EndpointName", "DeploymentName", "Type")
COLUMNS = {
    CONSOLE: (*_COMMON, "InstanceId", "ContainerName", "Message", "OperationName"),
    TRAFFIC: (
        *(*_COMMON, "ResponseCode", "ModelStatusCode", "TotalDurationMs", "RequestPayloadSize"),
        "ResponsePayloadSize",
    ),
    EVENTS: (*_COMMON, "Name", "Message", "InstanceId"),
}


def table(twin: TenantTwin, meter: RequestMeter, workspace_id: str, name: str, begin: float, end: float) -> Table:
    """Returns a table's rows of a period in a Log Analytics workspace; with the twin's lock.

    Raises:
        QueryError: this twin has no such table.
    """
    if name not in COLUMNS:
        raise QueryError(f"Failed to resolve table or column expression named '{name}'; there are {', '.join(COLUMNS)}")
    sent = _endpoints(twin, workspace_id, name)
    if name == CONSOLE:
        rows = [
            {
                **_row(name, when, sent[endpoint], deployment),
                "InstanceId": instance,
                "ContainerName": "inference-server",
                "Message": text,
                "OperationName": "ConsoleLog",
            }
            for endpoint, deployment, (when, instance, text) in lines.every(twin)
            if endpoint in sent and begin <= when < end
        ]
    elif name == TRAFFIC:
        rows = [
            {
                **_row(name, each.when, sent[each.endpoint], each.deployment),
                "ResponseCode": str(each.status),
                "ModelStatusCode": str(each.model_status or ""),
                "TotalDurationMs": 1000 * each.seconds,
                "RequestPayloadSize": each.received,
                "ResponsePayloadSize": each.sent,
            }
            for each in meter.every(begin, end)
            if each.endpoint in sent
        ]
    else:
        rows = []
    return COLUMNS[name], rows


def _row(name: str, when: float, endpoint_id: str, deployment: str) -> dict[str, Any]:
    return {
        "TimeGenerated": when,
        "_ResourceId": endpoint_id.lower(),
        "EndpointName": endpoint_id.rpartition("/")[2],
        "DeploymentName": deployment,
        "Type": name,
    }


def _endpoints(twin: TenantTwin, workspace_id: str, category: str) -> dict[str, str]:
    """Returns the endpoints that send a log category to a workspace: id in lower case -> id."""
    found = {}
    for document in twin.resources.values():
        if document["type"].lower() != _DIAGNOSTICS.lower():
            continue
        properties = document["properties"]
        if key(properties.get("workspaceId") or "-") != key(workspace_id):
            continue
        for each in properties.get("logs") or []:
            if each.get("enabled") and (each.get("category") == category or each.get("categoryGroup") == "allLogs"):
                scope = Id.parse(document["id"]).scope
                found[key(scope)] = scope
    return found
