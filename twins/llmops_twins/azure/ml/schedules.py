"""Schedules: triggers that create jobs.

https://learn.microsoft.com/rest/api/azureml/schedules

Unsure (65 %): the rules are the reference's, which names no codes; codes and messages are assumed.
"""

import copy
import logging
from datetime import UTC, datetime

from llmops_twins.azure.arm import arm
from llmops_twins.azure.entra import principals
from llmops_twins.azure.ml import times
from llmops_twins.azure.ml.command_jobs import check_definition
from llmops_twins.azure.ml.ml_bodies import WORKSPACES, judged, refuse_changes, writable
from llmops_twins.azure.ml.ml_documents import FORMS, stamp
from llmops_twins.azure.ml.references import workspace_of
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import TWIN, ArmCall, Document
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.azure.twin import TenantTwin

TYPE = f"{WORKSPACES}/schedules"
SECONDS = 15.0
log = logging.getLogger("llmops_twins.azure")


def install(twin: TenantTwin) -> None:
    """Registers the kind, and checks each second whether a schedule is due."""
    twin.kind(
        ResourceKind(
            TYPE,
            put=_put,
            name=r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}",
            seconds=SECONDS,
            patch=False,
            polled=FORMS,
        )
    )
    twin.every(1.0, lambda: fire(twin, datetime.now(UTC)))


def fire(twin: TenantTwin, now: datetime) -> None:
    """Creates the jobs of due schedules, as the principal that created the schedule. A refusal is stored in `_failure`,
    and the next due time is tried again.
    """
    for schedule, job_id, properties in due(twin, now):
        caller = principals.find(twin, schedule.get("_owner", ""))
        try:
            arm.put(twin, job_id, {"properties": properties}, caller or TWIN)
            schedule.pop("_failure", None)
        except ArmError as e:
            schedule["_failure"] = {"code": e.code, "message": e.message}
            log.warning("schedule %s: %s", schedule["name"], e.message)


def due(twin: TenantTwin, now: datetime) -> list[tuple[Document, str, Document]]:
    """Returns schedules that became due since the last call, with id and properties of the job to start; several missed
    times count as one.
    """
    found = []
    for schedule in twin.children(f"/subscriptions/{twin.subscription}", TYPE):
        properties = schedule["properties"]
        if not properties["isEnabled"] or properties["provisioningState"] != "Succeeded":
            continue
        last = datetime.fromtimestamp(schedule["_asked"], UTC)
        when = times.next_after(properties["trigger"], last)
        if when is None or when > now:
            continue
        schedule["_asked"] = now.timestamp()
        twin.keep(schedule)
        name = f"{schedule['name']}-{when.astimezone(UTC):%Y%m%d%H%M%S}"
        job = copy.deepcopy(properties["action"]["jobDefinition"])
        job["properties"] = {**(job.get("properties") or {}), "azureml.scheduleName": schedule["name"]}
        found.append((schedule, f"{workspace_of(schedule['id'])}/jobs/{name}", job))
    return found


def _put(twin: TenantTwin, call: ArmCall, there: Document | None) -> Document:
    body = judged("Schedule", call.method, call.body)
    properties = body["properties"]
    action = properties["action"]
    if action["actionType"] != "CreateJob":
        kind = action["actionType"]
        raise ArmError(400, "UserError", f"Schedules that {kind} are not on this twin.", "properties.action.actionType")
    times.check(properties["trigger"])
    check_definition(twin, workspace_of(call.id), action["jobDefinition"])
    if there:
        refuse_changes("Schedule", writable("Schedule", there), body, f"schedule {there['name']}")
    properties["isEnabled"] = properties.get("isEnabled") is not False
    body |= {"_asked": datetime.now(UTC).timestamp(), "_owner": call.caller.object_id}
    return stamp(call, there, body)
