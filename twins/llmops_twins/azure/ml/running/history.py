"""The run history: start and end times of a job, why it failed, and URLs of its logs, which are read like blobs.

https://learn.microsoft.com/azure/machine-learning/how-to-log-view-metrics
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Request, Response

from llmops_twins.azure.entra import tokens
from llmops_twins.azure.ml.running import job_logs
from llmops_twins.azure.ml.running.reports import ENDED
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document, Reply
from llmops_twins.azure.replies import read_json, route
from llmops_twins.azure.twin import TenantTwin

PREFIX, LOGS = "/history/v1.0/", "/joblogs/"
READ = "Microsoft.MachineLearningServices/workspaces/jobs/read"
WRITE = "Microsoft.MachineLearningServices/workspaces/experiments/runs/write"
_CHANGEABLE = ("displayName", "description", "tags", "properties")
_SECRET = "job_logs_key"
_HOURS = 4
_ID = (
    r"/history/v1\.0(?P<workspace>/subscriptions/[^/]+/resourceGroups/[^/]+/providers/"
    r"Microsoft\.MachineLearningServices/workspaces/[^/]+)"
)
_RUN = re.compile(_ID + r"(?:/experiment(?:s|ids)/[^/]+)?/runs/(?P<run>[^/]+)(?P<rest>/details|/children|)", re.I)
_RUN_DATA = re.compile(_ID + "/rundata", re.I)
_LOG = re.compile(LOGS + r"azureml/(?P<folder>[0-9a-f]+)/(?P<name>.+)")


def install(twin: TenantTwin) -> None:
    """Registers the routes of the history and of its logs."""
    route(twin, PREFIX, _respond)
    twin.route(LOGS, _LogApp(twin))


def _respond(twin: TenantTwin, request: Request) -> Reply:
    caller = tokens.caller_of(twin, dict(request.headers), (*tokens.MANAGEMENT, *tokens.ML))
    found, data = _RUN.fullmatch(request.path), _RUN_DATA.fullmatch(request.path)
    with twin.lock:
        if data and request.method == "POST":
            job = _job(twin, data["workspace"], str(read_json(request)["runId"]))
            twin.require(caller, READ, job["id"])
            return Reply(200, {"runMetadata": _run(job), "runDefinition": {}, "jobSpecification": {}})
        if found and request.method == "PATCH" and not found["rest"]:
            job = _job(twin, found["workspace"], found["run"])
            twin.require(caller, WRITE, job["id"])
            return Reply(200, _changed(twin, job, read_json(request)))
        if not found or request.method != "GET":
            raise ArmError(404, "NotFound", f"The run history has no {request.method} {request.path}.")
        job = _job(twin, found["workspace"], found["run"])
        twin.require(caller, READ, job["id"])
        if found["rest"] == "/details":
            return Reply(200, _details(twin, job))
        return Reply(200, {"value": []} if found["rest"] else _run(job))


def _job(twin: TenantTwin, workspace: str, name: str) -> Document:
    job = twin.find(f"{workspace}/jobs/{name}")
    if job is None:
        raise ArmError(404, "UserError", f"Run {name} was not found.")
    return job


def _run(job: Document) -> Document:
    properties, times = job["properties"], job.get("_times", {})
    return {
        "runId": job["name"],
        "rootRunId": job["name"],
        "experimentName": properties["experimentName"],
        "displayName": properties["displayName"],
        "status": properties["status"],
        "target": properties.get("computeId", "").rpartition("/")[2],
        "createdUtc": job["systemData"]["createdAt"],
        "startTimeUtc": times.get("Running"),
        "endTimeUtc": next((times[status] for status in ENDED if status in times), None),
        "error": _error(job),
        "warnings": [],
        "tags": properties.get("tags") or {},
        "properties": properties.get("properties") or {},
        "runType": "azureml.Command",
        "hidden": False,
    }


def _changed(twin: TenantTwin, job: Document, change: Document) -> Document:
    """Returns a run after a change of its texts; tags and properties are merged into the existing ones."""
    for name in _CHANGEABLE:
        if change.get(name) is not None:
            given, before = change[name], job["properties"].get(name)
            job["properties"][name] = {**(before or {}), **given} if isinstance(given, dict) else given
    twin.keep(job)
    return _run(job)


def _error(job: Document) -> Document | None:
    failure = job.get("_failure")
    if not failure:
        return None
    return {"error": {"code": failure["code"], "message": failure["message"], "details": []}, "time": None}


def _details(twin: TenantTwin, job: Document) -> Document:
    run = _run(job)
    logs = {name: _signed(twin, job["id"], name) for name in job_logs.names(twin, job["id"])}
    created = {"createdTimeUtc": run.pop("createdUtc"), "runDefinition": {}, "logFiles": logs}
    names = ("runId", "target", "status", "startTimeUtc", "endTimeUtc", "error", "warnings", "tags", "properties")
    return {name: run[name] for name in names} | created


# -- logs, as blobs with a shared access signature ---------------------------------------------------------------------


def _signed(twin: TenantTwin, job_id: str, name: str) -> str:
    path = f"azureml/{job_logs.folder(twin, job_id).name}/{name}"
    end = datetime.fromtimestamp(time.time() + _HOURS * 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{twin.url}{LOGS}{path}?sv=2023-11-03&sr=b&sp=r&se={end}&sig={_signature(twin, path, end)}"


def _signature(twin: TenantTwin, path: str, end: str) -> str:
    with twin.lock:
        key = twin.state.setdefault(_SECRET, secrets.token_hex(32))
    return hmac.new(key.encode(), f"{path}\n{end}".encode(), hashlib.sha256).hexdigest()


class _LogApp:
    """Serves logs, with the ranges and headers that blob clients expect."""

    def __init__(self, twin: TenantTwin) -> None:
        self._twin = twin

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        found = _LOG.fullmatch(request.path)
        if not found or not self._may(request):
            response = _refusal(403, "AuthenticationFailed")
        else:
            path = self._twin.home / job_logs.FOLDER / found["folder"] / found["name"]
            inside = path.resolve().is_relative_to((self._twin.home / job_logs.FOLDER).resolve())
            response = _content(request, path) if inside and path.is_file() else _refusal(404, "BlobNotFound")
        response.headers["x-ms-version"] = "2023-11-03"
        return response(environ, start_response)

    def _may(self, request: Request) -> bool:
        end = request.args.get("se", "")
        wanted = _signature(self._twin, request.path.removeprefix(LOGS), end)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return hmac.compare_digest(wanted, request.args.get("sig", "")) and now < end


def _content(request: Request, path: Path) -> Response:
    size = path.stat().st_size
    headers = {
        "Last-Modified": formatdate(path.stat().st_mtime, usegmt=True),
        "ETag": f'"{size:#x}"',
        "x-ms-blob-type": "AppendBlob",
        "Accept-Ranges": "bytes",
        "Content-Type": "text/plain",
    }
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("x-ms-range") or request.headers.get("Range") or "")
    begin, end = 0, size
    if asked:
        begin, end = int(asked[1]), min(size, int(asked[2]) + 1 if asked[2] else size)
        if begin >= size:
            return _refusal(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    if request.method == "HEAD":
        return Response(b"", 200, {**headers, "Content-Length": str(size)})
    with path.open("rb") as file:
        file.seek(begin)
        return Response(file.read(end - begin), 206 if asked else 200, headers)


def _refusal(status: int, code: str) -> Response:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return Response(body, status, {"x-ms-error-code": code}, content_type="application/xml")
