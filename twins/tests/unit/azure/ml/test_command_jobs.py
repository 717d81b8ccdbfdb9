"""Jobs and schedules: what Azure ML takes and refuses, statuses, and times that are due."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure.ml import schedules, times
from llmops_twins.azure.ml.running import needs
from llmops_twins.azure.ml.running.reports import NothingRuns, RunFailure, job_moved
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document
from twins.tests.unit.azure.services.workspace import VERSION, Workspace


class Waiting(NothingRuns):
    """Runs jobs until they are told to end."""

    def job_started(self, document: Document) -> None:
        job_moved(self._twin, document["id"], "Running")


@pytest.fixture
def ml(tmp_path: Path) -> Workspace:
    found = Workspace(tmp_path).make()
    found.ok("/computes/cpu", found.cluster())
    return found


def test_a_job_runs_to_its_end(ml: Workspace) -> None:
    answer = ml.put("/jobs/run-1", ml.job())
    assert (answer.status, answer.body["properties"]["status"]) == (201, "NotStarted")
    ml.arm.pass_time()

    job = ml.get("/jobs/run-1").body["properties"]
    assert job["status"] == "Completed"
    assert (job["displayName"], job["experimentName"]) == ("run-1", "Default")
    assert job["outputs"]["model"]["uri"] == "azureml://datastores/store/paths/runs/run-1/"


def test_a_jobs_name_is_used_once(ml: Workspace) -> None:
    ml.ok("/jobs/run-1", ml.job())

    answer = ml.refused("/jobs/run-1", ml.job(command="true"), "A job with this name already exists")
    assert answer.body["error"]["target"] == "properties.command"
    tagged = ml.ok("/jobs/run-1", ml.job(tags={"a": "b"}, computeId=f"{ml.id}/computes/cpu", displayName="run-1"))
    assert (tagged["properties"]["tags"], tagged["properties"]["status"]) == ({"a": "b"}, "Completed")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"computeId": "none"}, "compute target none was not found"),
        ({"computeId": None}, "Serverless compute is not on this twin"),
        ({"environmentId": "azureml:none:1"}, "Environment version not found"),
        ({"inputs": {}}, "uses ${{inputs.spec}}"),
        ({"inputs": {"spec": {"jobInputType": "uri_folder", "uri": "azureml://datastores/x/paths/a"}}}, "datastore x"),
        ({"inputs": {"spec": {"jobInputType": "uri_folder", "uri": "azureml:x:1"}}}, "Data version not found"),
        ({"outputs": {"model": {"jobOutputType": "uri_folder", "uri": "model"}}}, "is not a path of a datastore"),
        ({"resources": {"instanceCount": 3}}, "wants 3 nodes, and compute cpu has 2 at most"),
        ({"identity": {"identityType": "Managed", "clientId": "nobody"}}, "has no such managed identity"),
        ({"limits": {"jobLimitsType": "Command", "timeout": "1 hour"}}, "not an ISO 8601 duration"),
        ({"distribution": {"distributionType": "Ray", "port": "x"}}, "The request is invalid"),
        ({"status": "Completed"}, "is read-only"),
    ],
)
def test_a_job_that_azure_refuses(ml: Workspace, changes: Document, words: str) -> None:
    ml.refused("/jobs/run-1", ml.job(**changes), words)
    assert ml.get("/jobs/run-1").status == 404


@pytest.mark.vulnerability(14)
@pytest.mark.parametrize("direction", ["inputs", "outputs"])
@pytest.mark.parametrize("name", ["..", "../../../escaped", "/root", "a/b", "a b", "", "1st", "ö", "x" * 256])
def test_vulnerability_14_folders_of_a_job_are_named_by_words(ml: Workspace, direction: str, name: str) -> None:
    """Such a name was a path: the twin made, filled and carried away folders anywhere on the machine."""
    kind = {"inputs": {"jobInputType": "literal", "value": "1"}, "outputs": {"jobOutputType": "uri_folder"}}[direction]
    given = ml.job()["properties"].get(direction) or {}
    ml.refused("/jobs/run-1", ml.job(**{direction: {**given, name: kind}}), "must be letters, digits and underscores")


@pytest.mark.parametrize("action", [needs.PULL, needs.READ, needs.WRITE])
def test_a_job_fails_by_name_when_its_identity_may_not(ml: Workspace, action: str) -> None:
    ml.twin.judge_of_roles = lambda who, wanted, scope, data, _: who != ml.principal or wanted != action
    ml.ok("/jobs/run-1", ml.job())

    job = ml.twin.find(f"{ml.id}/jobs/run-1")
    assert job
    assert job["properties"]["status"] == "Failed"
    assert f"perform action '{action}'" in job["_failure"]["message"]


def test_a_running_job_is_cancelled_once(ml: Workspace) -> None:
    ml.twin.running = Waiting(ml.twin)
    ml.ok("/jobs/run-1", ml.job())
    ml.is_refused(ml.arm.delete(f"{ml.id}/jobs/run-1", VERSION), "has not ended", 409)
    assert ml.post("/jobs/run-1/cancel").status == 202
    ml.arm.pass_time()

    assert ml.get("/jobs/run-1").body["properties"]["status"] == "Canceled"
    ml.is_refused(ml.post("/jobs/run-1/cancel"), "is Canceled already")


def test_a_job_that_ended_stays_as_it_ended(ml: Workspace) -> None:
    ml.twin.running = Waiting(ml.twin)
    ml.ok("/jobs/run-1", ml.job())
    job_moved(ml.twin, f"{ml.id}/jobs/run-1", "Failed", RunFailure("UserError", "exit code 1"))
    job_moved(ml.twin, f"{ml.id}/jobs/run-1", "Completed")

    assert ml.get("/jobs/run-1").body["properties"]["status"] == "Failed"


def test_a_deleted_cluster_takes_its_jobs(ml: Workspace) -> None:
    ml.twin.running = Waiting(ml.twin)
    ml.ok("/jobs/run-1", ml.job())
    ml.is_refused(ml.arm.delete(f"{ml.id}/computes/cpu", VERSION), "underlyingResourceAction is required")
    assert ml.arm.delete(f"{ml.id}/computes/cpu", VERSION, underlyingResourceAction="Delete").status == 202

    assert ml.get("/jobs/run-1").body["properties"]["status"] == "Canceled"


def test_a_deleted_workspace_takes_its_running_jobs(ml: Workspace) -> None:
    cancelled: list[str] = []

    class Counting(Waiting):
        def job_cancelled(self, job_id: str) -> None:
            cancelled.append(job_id)

    ml.twin.running = Counting(ml.twin)
    ml.ok("/jobs/run-1", ml.job())
    assert ml.arm.delete(ml.id, VERSION).status == 202
    ml.arm.pass_time()

    assert cancelled == [f"{ml.id}/jobs/run-1"]


def test_jobs_are_listed_newest_first_and_by_tag(ml: Workspace) -> None:
    ml.ok("/jobs/run-1", ml.job(tags={"llmops:run": "a"}))
    ml.ok("/jobs/run-2", ml.job(tags={"llmops:run": "b"}))

    assert [job["name"] for job in ml.get("/jobs").body["value"]] == ["run-2", "run-1"]
    assert [job["name"] for job in ml.get("/jobs", tag="llmops:run=a").body["value"]] == ["run-1"]


def test_a_schedule_puts_a_job_when_it_is_due(ml: Workspace) -> None:
    trigger = {"triggerType": "Cron", "expression": "0 6 * * *", "timeZone": "UTC"}
    action = {"actionType": "CreateJob", "jobDefinition": ml.job()["properties"]}
    ml.ok("/schedules/nightly", {"properties": {"trigger": trigger, "action": action}})
    tomorrow = datetime(2099, 1, 1, 7, tzinfo=UTC)

    schedules.fire(ml.twin, tomorrow)
    schedules.fire(ml.twin, tomorrow)
    ml.arm.pass_time()
    [job] = ml.get("/jobs").body["value"]
    assert job["name"].startswith("nightly-")
    assert job["properties"]["status"] == "Completed"
    assert job["properties"]["outputs"]["model"]["uri"] == f"azureml://datastores/store/paths/runs/{job['name']}/"


def test_a_schedule_is_refused_for_what_its_job_would_be(ml: Workspace) -> None:
    trigger = {"triggerType": "Cron", "expression": "0 6 * * *"}
    action = {"actionType": "CreateJob", "jobDefinition": ml.job(computeId="none")["properties"]}
    ml.refused("/schedules/nightly", {"properties": {"trigger": trigger, "action": action}}, "compute target none")
    bad = {"actionType": "CreateJob", "jobDefinition": ml.job()["properties"]}
    for expression in ("0 25 * * *", "0 0 31 2 *", "0 6 * *"):
        wrong = {"triggerType": "Cron", "expression": expression}
        ml.refused("/schedules/nightly", {"properties": {"trigger": wrong, "action": bad}}, "is not a cron expression")


def test_a_schedule_that_is_off_starts_nothing(ml: Workspace) -> None:
    trigger = {"triggerType": "Cron", "expression": "0 * * * *"}
    action = {"actionType": "CreateJob", "jobDefinition": ml.job()["properties"]}
    ml.ok("/schedules/hourly", {"properties": {"trigger": trigger, "action": action, "isEnabled": False}})

    assert schedules.due(ml.twin, datetime(2099, 1, 1, tzinfo=UTC)) == []


def _next(when: str, **trigger: Any) -> str:
    found = times.next_after(trigger, datetime.fromisoformat(when))
    return found.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if found else ""


@pytest.mark.parametrize(
    ("expression", "when", "expected"),
    [
        ("30 6 * * *", "2026-03-01T06:30:00+00:00", "2026-03-02 06:30"),
        ("*/15 * * * *", "2026-03-01T06:31:00+00:00", "2026-03-01 06:45"),
        ("0 0 1 * *", "2026-03-01T06:31:00+00:00", "2026-04-01 00:00"),
        ("0 0 * * 0", "2026-03-02T00:00:00+00:00", "2026-03-08 00:00"),
        ("0 0 13 * 5", "2026-03-01T00:00:00+00:00", "2026-03-06 00:00"),
    ],
)
def test_cron_expressions_are_crontabs(expression: str, when: str, expected: str) -> None:
    assert _next(when, triggerType="Cron", expression=expression) == expected


def test_times_are_of_a_zone_by_windows_name() -> None:
    trigger = {"triggerType": "Cron", "expression": "0 6 * * *", "timeZone": "W. Europe Standard Time"}

    assert _next("2026-07-01T00:00:00+00:00", **trigger) == "2026-07-01 04:00"
    assert _next("2026-01-10T00:00:00+00:00", **trigger) == "2026-01-10 05:00"
    with pytest.raises(ArmError, match="not a known time zone"):
        _next("2026-07-01T00:00:00+00:00", **{**trigger, "timeZone": "Mars"})


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, "2026-03-02 09:00"),
        ({"startTime": "2027-01-01T09:00:00"}, "2027-01-01 09:00"),
        ({"endTime": "2026-02-01T08:00:00"}, ""),
    ],
)
def test_a_trigger_has_a_beginning_and_an_end(limits: Document, expected: str) -> None:
    assert _next("2026-03-02T00:00:00+00:00", triggerType="Cron", expression="0 9 * * *", **limits) == expected


def test_recurrences_are_refused_by_name(ml: Workspace) -> None:
    trigger = {"triggerType": "Recurrence", "frequency": "Hour", "interval": 1}
    action = {"actionType": "CreateJob", "jobDefinition": ml.job()["properties"]}
    ml.refused("/schedules/hourly", {"properties": {"trigger": trigger, "action": action}}, "Recurrences are not on")
