"""Command jobs: checks, and their states from NotStarted to an end state.

https://learn.microsoft.com/rest/api/azureml/jobs
https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-command

Unsure (65 %): the rules are the reference's, which names no codes; codes and messages are assumed.
"""

import re

from llmops_twins.azure.arm import operations
from llmops_twins.azure.arm.arm import merged
from llmops_twins.azure.ml import references
from llmops_twins.azure.ml.ml_bodies import WORKSPACES, judged, refuse_changes, writable
from llmops_twins.azure.ml.ml_documents import page, seconds, stamp
from llmops_twins.azure.ml.running import needs
from llmops_twins.azure.ml.running.reports import ENDED, job_moved
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, Reply
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

TYPE = f"{WORKSPACES}/jobs"
START_SECONDS = 15.0
_START = "machinelearning.job"
_PLACEHOLDER = re.compile(r"\$\{\{\s*(inputs|outputs|search_space)\.(\w+)\s*\}\}")
_FOLDER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)
"""Pattern of names of inputs and outputs, which occur in placeholders and as folders of this machine."""
_PATH_MACROS = re.compile(r"\$\{\{\s*(\w+)\s*\}\}")
_KINDS_OF_DATA = {"uri_folder": "data", "uri_file": "data", "mltable": "data"}


def install(twin: TenantTwin) -> None:
    """Registers the kind and its actions."""
    twin.kind(
        ResourceKind(
            TYPE,
            put=_put,
            begun=_begun,
            deleting=_deleting,
            gone=_gone,
            patch=False,
            name=r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}",
            provisioning=False,
        )
    )
    twin.action_named(_START, lambda job_id: _start(twin, job_id))
    twin.action(TYPE, "cancel", _cancel)
    twin.action(WORKSPACES, "jobs", _list, f"{TYPE}/read", "GET")


def check_definition(twin: TenantTwin, workspace_id: str, properties: Document) -> None:
    """Refuses a command job that refers to something missing.

    Raises:
        ArmError: 400, with the member as target.
    """
    if properties["jobType"] != "Command":
        kind = properties["jobType"]
        raise ArmError(400, "UserError", f"Jobs of type {kind} are not on this twin.", "properties.jobType")
    if properties.get("codeId"):
        references.asset(twin, workspace_id, properties["codeId"], "codes", "properties.codeId")
    references.asset(twin, workspace_id, properties["environmentId"], "environments", "properties.environmentId")
    compute = _check_compute(twin, workspace_id, properties)
    _check_identity(properties, compute)
    _check_folders(twin, workspace_id, properties)
    _check_placeholders(properties)
    if (properties.get("limits") or {}).get("timeout"):
        seconds(properties["limits"]["timeout"], "properties.limits.timeout")


def cancel_on(twin: TenantTwin, compute: Document) -> None:
    """Cancels the jobs of a cluster that is being deleted."""
    for job in twin.children(references.workspace_of(compute["id"]), TYPE):
        wanted = job["properties"].get("computeId", "")
        if job["properties"]["status"] not in ENDED and wanted.lower() == compute["id"].lower():
            _request_cancel(twin, job)


def _put(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = judged("JobBase", call.method, call.body)
    properties = body["properties"]
    name = call.id.rpartition("/")[2]
    _resolve_outputs(properties, name)
    if there:
        return _changed(call, there, body)
    workspace = references.workspace_of(call.id)
    check_definition(twin, workspace, properties)
    compute = references.compute(twin, workspace, properties["computeId"], "properties.computeId")
    properties["computeId"] = compute["id"]
    properties["displayName"] = properties.get("displayName") or name
    properties["experimentName"] = properties.get("experimentName") or "Default"
    properties["resources"] = {"instanceCount": 1, "shmSize": "2g", **_given(properties.get("resources"))}
    properties.setdefault("isArchived", False)
    properties["status"] = "NotStarted"
    properties["services"] = _services(twin, workspace, name)
    return stamp(call, None, body)


def _given(settings: Document | None) -> Document:
    return {name: value for name, value in (settings or {}).items() if value is not None}


def _changed(call: ArmCall, there: Document, body: Document) -> Document:
    """Returns an existing job with its description, tags, properties and archiving changed.

    Raises:
        ArmError: 400, another member was changed.
    """
    old, given = writable("JobBase", there), _given(body["properties"])
    new = {"properties": merged(old["properties"], given)}
    new["properties"] |= {"tags": given.get("tags", {}), "services": old["properties"]["services"]}
    try:
        refuse_changes("JobBase", old, new, f"job {there['name']}")
    except ArmError as e:
        message = (
            "A job with this name already exists. If you are trying to submit a new job, use a different name. If you "
            "are trying to update an existing job, the existing job's settings cannot be changed. The following cannot "
            f"be changed: {e.target}"
        )
        raise ArmError(400, "UserError", message, e.target) from e
    new["properties"]["status"] = there["properties"]["status"]
    return stamp(call, there, new)


def _services(twin: TenantTwin, workspace: str, name: str) -> Document:
    return {
        "Tracking": {
            "jobServiceType": "Tracking",
            "endpoint": f"{twin.url.replace('https:', 'azureml:')}/mlflow/v1.0{workspace}?",
            "port": None,
        },
        "Studio": {"jobServiceType": "Studio", "endpoint": f"{twin.url}/runs/{name}?wsid={workspace}", "port": None},
    }


def _resolve_outputs(properties: Document, name: str) -> None:
    """Replaces the macros in the paths of outputs: ${{name}}, ${{output_name}} and ${{default_datastore}}."""
    for output, given in (properties.get("outputs") or {}).items():
        values = {"name": name, "output_name": output, "default_datastore": "workspaceblobstore"}
        if given.get("uri"):
            given["uri"] = _PATH_MACROS.sub(lambda match, v=values: v.get(match[1], match[0]), given["uri"])


def _check_compute(twin: TenantTwin, workspace_id: str, properties: Document) -> Document:
    if not properties.get("computeId"):
        message = "Serverless compute is not on this twin: name a cluster by computeId."
        raise ArmError(400, "UserError", message, "properties.computeId")
    compute = references.compute(twin, workspace_id, properties["computeId"], "properties.computeId")
    state = compute["properties"]["provisioningState"]
    if state != "Succeeded":
        raise ArmError(
            400, "UserError", f"Compute {compute['name']} is {state}, not Succeeded.", "properties.computeId"
        )
    most = compute["properties"]["properties"]["scaleSettings"]["maxNodeCount"]
    wanted = (properties.get("resources") or {}).get("instanceCount") or 1
    if not 1 <= wanted <= most:
        message = f"The job wants {wanted} nodes, and compute {compute['name']} has {most} at most."
        raise ArmError(400, "UserError", message, "properties.resources.instanceCount")
    return compute


def _check_identity(properties: Document, compute: Document) -> None:
    identity = properties.get("identity") or {}
    if identity.get("identityType") == "Managed" and needs.identity_of_job({"properties": properties}, compute) is None:
        message = f"Compute {compute['name']} has no such managed identity: assign it to the compute."
        raise ArmError(400, "UserError", message, "properties.identity")
    if identity.get("identityType") == "UserIdentity":
        message = "Jobs under the identity of the user are not on this twin: take a managed identity of the compute."
        raise ArmError(400, "UserError", message, "properties.identity")


def _check_folders(twin: TenantTwin, workspace_id: str, properties: Document) -> None:
    for direction in ("inputs", "outputs"):
        for name, given in (properties.get(direction) or {}).items():
            target, uri = f"properties.{direction}.{name}", given.get("uri")
            if not _FOLDER_NAME.fullmatch(name):
                message = f"The name {name!r} of an {direction[:-1]} must be letters, digits and underscores."
                raise ArmError(400, "UserError", message, f"properties.{direction}")
            if not uri or references.data_path(twin, workspace_id, uri, target) is not None:
                continue
            if direction == "outputs":
                message = f"{uri} is not a path of a datastore (azureml://datastores/…/paths/…)."
                raise ArmError(400, "UserError", message, target)
            if not uri.startswith(("https://", "azureml://jobs/")):
                kind = _KINDS_OF_DATA.get(given["jobInputType"], "models")
                references.asset(twin, workspace_id, uri, kind, target)


def _check_placeholders(properties: Document) -> None:
    for direction, name in _PLACEHOLDER.findall(properties["command"]):
        if name not in (properties.get(direction) or {}):
            message = f"The command uses ${{{{{direction}.{name}}}}}, and the job has no such {direction[:-1]}."
            raise ArmError(400, "UserError", message, "properties.command")


def _begun(twin: TenantTwin, document: Document) -> None:
    if document["properties"]["status"] == "NotStarted" and not document.get("_begun"):
        document["_begun"] = True
        twin.later(twin.scaled(START_SECONDS), _START, document["id"])


def _start(twin: TenantTwin, job_id: str) -> None:
    """Starts a queued job if the cluster's identity has the permissions that the job needs; fails it otherwise."""
    job = twin.find(job_id)
    if job is None or job["properties"]["status"] in (*ENDED, "CancelRequested"):
        return
    failure = needs.of_job(twin, job)
    if failure:
        job_moved(twin, job_id, "Failed", failure)
    else:
        twin.running.job_started(job)


def _cancel(twin: TenantTwin, call: ArmCall, document: Document) -> Reply:
    if document["properties"]["status"] in ENDED:
        state = document["properties"]["status"]
        raise ArmError(400, "UserError", f"Job {document['name']} is {state} already: it can't be canceled.")
    _request_cancel(twin, document)
    operation = operations.begin(twin, call, START_SECONDS, "POST")
    return Reply(202, None, operations.headers(twin, operation))


def _request_cancel(twin: TenantTwin, job: Document) -> None:
    job_moved(twin, job["id"], "CancelRequested")
    twin.running.job_cancelled(job["id"])


def _deleting(twin: TenantTwin, call: ArmCall, document: Document) -> None:
    if document["properties"]["status"] not in ENDED:
        raise ArmError(409, "Conflict", f"Job {document['name']} has not ended: cancel it before you delete it.")


def _gone(twin: TenantTwin, document: Document) -> None:
    """Cancels a job that is deleted with its workspace before it has ended."""
    if document["properties"]["status"] not in ENDED:
        twin.running.job_cancelled(document["id"])


def _list(twin: TenantTwin, call: ArmCall, document: Document) -> Reply:
    found = twin.children(document["id"], TYPE)
    kind = call.query.get("jobType")
    return page(twin, call, [job for job in found if not kind or job["properties"]["jobType"] == kind])
