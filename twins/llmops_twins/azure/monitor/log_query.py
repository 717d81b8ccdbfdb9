"""The query API of Log Analytics, for the supported part of its language.

https://learn.microsoft.com/azure/azure-monitor/logs/api/overview
"""

import re
import time
from datetime import UTC, datetime
from typing import Any

from werkzeug.wrappers import Request

from llmops_twins.azure.entra import tokens
from llmops_twins.azure.ml.ml_documents import seconds
from llmops_twins.azure.monitor import kql, tables
from llmops_twins.azure.monitor.services.operationalinsights import WORKSPACES
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document, Reply, timestamp
from llmops_twins.azure.replies import read_json, route
from llmops_twins.azure.telemetry.metering import RequestMeter
from llmops_twins.azure.twin import TenantTwin

PREFIX = "/v1/workspaces/"
AUDIENCES = ("https://api.loganalytics.io", "https://api.loganalytics.azure.com", *tokens.MANAGEMENT)
READ = f"{WORKSPACES}/query/read"
_PATH = re.compile(PREFIX + r"(?P<id>[^/]+)/query", re.I)


class LogQuery:
    """Answers `POST /v1/workspaces/{id}/query` on the twin's main port."""

    def __init__(self, twin: TenantTwin, meter: RequestMeter) -> None:
        self._twin = twin
        self._meter = meter
        route(twin, PREFIX, self._respond)

    def _respond(self, _twin: TenantTwin, request: Request) -> Reply:
        caller = tokens.caller_of(self._twin, dict(request.headers), AUDIENCES)
        found = _PATH.fullmatch(request.path)
        if not found or request.method not in ("GET", "POST"):
            raise ArmError(404, "PathNotFoundError", "The requested path does not exist.")
        body = dict(request.args) if request.method == "GET" else read_json(request) or {}
        with self._twin.lock:
            workspace = self._workspace(found["id"])
            self._twin.require(caller, READ, workspace["id"])
            return Reply(200, {"tables": [self._answer(workspace, body)]})

    def _workspace(self, customer_id: str) -> Document:
        for document in self._twin.resources.values():
            if document["type"] == WORKSPACES and document["properties"].get("customerId") == customer_id:
                return document
        raise ArmError(404, "WorkspaceNotFoundError", f"The workspace {customer_id} could not be found.")

    def _answer(self, workspace: Document, body: Document) -> Document:
        begin, end = _timespan(body.get("timespan") or "")

        def table(name: str) -> kql.Table:
            return tables.table(self._twin, self._meter, workspace["id"], name, begin, end)

        try:
            columns, rows = kql.run(body.get("query") or "", table)
        except kql.QueryError as e:
            message = "The request had some invalid properties"
            details = [{"code": "SemanticError", "message": str(e)}]
            raise ArmError(400, "BadArgumentError", message, details=details) from e
        return {
            "name": "PrimaryResult",
            "columns": [{"name": name, "type": _type(name, rows)} for name in columns],
            "rows": [[_shown(name, row.get(name)) for name in columns] for row in rows],
        }


def _type(name: str, rows: list[dict[str, Any]]) -> str:
    if name == "TimeGenerated":
        return "datetime"
    value = next((row[name] for row in rows if row.get(name) is not None), "")
    kinds = ((bool, "bool"), (int, "long"), (float, "real"), (str, "string"))
    return next((kind for type_, kind in kinds if isinstance(value, type_)), "dynamic")


def _shown(name: str, value: Any) -> Any:
    if name == "TimeGenerated" and isinstance(value, float):
        return timestamp(value)
    return "NaN" if isinstance(value, float) and value != value else value


def _timespan(text: str) -> tuple[float, float]:
    """Returns begin and end of a time span: a duration until now, or begin/end; everything if it is empty.

    Raises:
        ArmError: 400, it can't be parsed.
    """
    now = time.time()
    if not text:
        return 0.0, now + 1
    try:
        if "/" not in text:
            return now - seconds(text, "timespan"), now + 1
        begin, end = (datetime.fromisoformat(part.replace("Z", "+00:00")) for part in text.split("/"))
        return begin.replace(tzinfo=begin.tzinfo or UTC).timestamp(), end.replace(tzinfo=end.tzinfo or UTC).timestamp()
    except ValueError:
        raise ArmError(400, "BadArgumentError", f"The timespan {text!r} is not understood.") from None
