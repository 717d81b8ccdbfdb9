"""Runs as Azure ML's jobs, over its API and containers in this process."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmops_kit.cli.platforms.azure.jobs import AzureRuns
from llmops_kit.clouds.azure.arm import ARM, ResourceManager
from llmops_kit.clouds.azure.job_requests import job_name
from llmops_kit.clouds.azure.session import AzureSession
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.documents.run import Compute, RunSpec, TrainerJob
from llmops_kit.core.errors import NotFoundError, RunError
from tests.support.checkout import EXAMPLES
from tests.unit.clouds.azure.cloud import Cloud
from tests.unit.llmops.store.test_remote_objects import MemoryObjects

EXAMPLE = EXAMPLES / "run-2.json"
WORKSPACE = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/w"
JOBS, DISCOVERY = f"{WORKSPACE}/jobs", f"{ARM}/discovery"
PREFIX = "llmops-dev-run-3f9a0c1e"
RUN = "chatbot-20261125-210648-50bd"
SPEC = RunSpec.load(EXAMPLE).model_copy(update={"id": RUN, "compute": Compute(instance_type="Standard_DS3_v2")})


class MlCloud(Cloud):
    """A workspace that keeps jobs, and whose run history knows nothing of them."""

    def _find(self, method: str, path: str, body: Any) -> Any:
        if path == JOBS:
            jobs = [d for p, d in self.documents.items() if re.fullmatch(rf"{JOBS}/[^/]+", p)]
            return 200, {"value": jobs}, {}
        if method == "PUT" and path.startswith(JOBS):
            body["properties"]["status"] = "NotStarted"
            body["systemData"] = {"createdAt": "2026-11-25T21:06:50Z"}
        if method == "POST" and path.endswith("/cancel"):
            self.documents[path.removesuffix("/cancel")]["properties"]["status"] = "Canceled"
            return 200, None, {}
        if method == "DELETE":
            del self.documents[path]
            return 200, None, {}
        return super()._find(method, path, body)

    def ended(self, job: str, status: str) -> None:
        """Let a job have ended."""
        self.documents[f"{JOBS}/{job}"]["properties"]["status"] = status


@pytest.fixture
def cloud() -> MlCloud:
    return MlCloud({WORKSPACE: {"properties": {"discoveryUrl": DISCOVERY}}, "/discovery": {"api": ARM}})


@pytest.fixture
def runs(arm: ResourceManager, cloud: MlCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AzureRuns:
    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", lambda *a, **k: cloud.send(*a, **k))
    monkeypatch.setattr(
        "llmops_kit.cli.platforms.azure.jobs.BlobObjects", lambda url, session: MemoryObjects(tmp_path / "c")
    )
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    outputs = StackOutputs.new(
        target="azure",
        stack="dev",
        project="",
        store={"url": "https://a/store"},
        signing={"private_key": "", "public_key": ""},
        training={"image": "", "runs": ""},
        azure={
            "subscription": "s",
            "tenant": "t",
            "location": "westeurope",
            "resource_group": "rg",
            "workspace": "w",
            "datastores": {"store": "store", "work": "work"},
            "client_ids": {"training": "c"},
            "environments": {"training": f"{WORKSPACE}/environments/training/versions/1"},
            "computes": {"cpu": {"vm_size": "Standard_DS3_v2"}, "big": {"vm_size": "Standard_D8", "max_nodes": 3}},
            "jobs": {"instance_type": "Standard_DS3_v2"},
            "job_prefix": PREFIX,
            "tags": {"llmops:stack": "dev"},
        },
    )
    return AzureRuns(outputs, cast(AzureSession, SimpleNamespace(arm=arm)))


def names(cloud: Cloud) -> set[str]:
    return {path.rpartition("/")[2] for path in cloud.documents if path.startswith(f"{JOBS}/")}


def test_a_run_is_submitted_found_stopped_and_resumed_on_other_machines(runs: AzureRuns, cloud: MlCloud) -> None:
    runs.submit(SPEC, print)
    first = job_name(PREFIX, RUN)
    assert names(cloud) == {first}
    (found,) = runs.find("chatbot")
    assert (found.spec.id, found.state.status, found.state.started) == (RUN, "running", "2026-11-25T21:06:50Z")
    with pytest.raises(RunError, match="is running"):
        runs.resume(RUN, None, print)
    runs.stop(RUN)
    assert runs.find("")[0].state.status == "stopped"
    with pytest.raises(RunError, match="is not running"):
        runs.stop(RUN)
    runs.resume(RUN, Compute(instance_type="Standard_D8", instances=3), print)
    second = cloud.documents[f"{JOBS}/{job_name(PREFIX, RUN, 2)}"]
    assert second["properties"]["computeId"].endswith("/computes/big")
    (again,) = runs.find(RUN)
    assert again.spec.compute == Compute(instance_type="Standard_D8", instances=3)
    outputs = [cloud.documents[f"{JOBS}/{name}"]["properties"]["outputs"] for name in sorted(names(cloud))]
    assert outputs[0]["checkpoints"] == outputs[1]["checkpoints"]
    assert outputs[0]["model"] != outputs[1]["model"]


def test_a_job_that_was_created_before_is_not_created_again(runs: AzureRuns, cloud: MlCloud) -> None:
    for _ in range(2):
        runs.submit(SPEC, print)
    assert len(cloud.bodies("PUT")) == 1


def test_the_model_of_a_complete_run_is_where_its_job_put_it(runs: AzureRuns, cloud: MlCloud) -> None:
    runs.submit(SPEC, print)
    name = job_name(PREFIX, RUN)
    cloud.ended(name, "Completed")
    runs._objects.put(f"runs/{RUN}/output/{name}/model/manifest.json", b'{"files": {}}')
    assert runs.output(RUN).manifest() == b'{"files": {}}'


def test_why_a_run_failed_is_what_its_trainer_left(runs: AzureRuns, cloud: MlCloud) -> None:
    runs.submit(SPEC, print)
    name = job_name(PREFIX, RUN)
    cloud.ended(name, "Failed")
    assert runs.find(RUN)[0].state.failure.startswith("Azure gives no reason")
    runs._objects.put(f"runs/{RUN}/output/{name}/reports/failure", b"DataError: no luck\n")
    assert runs.find(RUN)[0].state.failure == "DataError: no luck"


def test_a_schedules_job_is_a_run_of_its_own_and_other_stacks_jobs_are_none(runs: AzureRuns, cloud: MlCloud) -> None:
    runs.submit(SPEC, print)
    request = runs.request(RUN)["properties"]
    own = "nightly-20261126T030000Z"
    runs._objects.put(f"schedules/nightly/{RUN}/run.json", SPEC.to_json().encode())
    spec = {**request["inputs"]["spec"], "uri": f"azureml://datastores/work/paths/schedules/nightly/{RUN}/"}
    output = "azureml://datastores/work/paths/runs/${{name}}/output/${{name}}/model/"
    tags = {"llmops:stack": "dev", "llmops:jobs": PREFIX}
    for name, marks in ((own, tags), ("theirs", {**tags, "llmops:jobs": "other"})):
        scheduled = {
            **request,
            "tags": marks,
            "inputs": {**request["inputs"], "spec": spec},
            "outputs": {**request["outputs"], "model": {"uri": output}},
        }
        runs._arm.put(f"{JOBS}/{name}", {"properties": scheduled})
    found = {run.spec.id: run for run in runs.find("")}
    assert found.keys() == {RUN, own}
    assert found[own].spec.created == "2026-11-25T21:06:50Z"
    assert runs.request(own)["name"] == own
    cloud.ended(own, "Completed")
    runs._objects.put(f"runs/{own}/output/{own}/model/manifest.json", b'{"files": {}}')
    assert runs.output(own).manifest() == b'{"files": {}}'
    cloud.ended(own, "Failed")
    runs.resume(own, None, print)
    assert job_name(PREFIX, own, 2) in names(cloud)


def test_a_job_with_the_stacks_tag_that_the_kit_did_not_submit_is_no_run_and_is_stopped(
    runs: AzureRuns, cloud: MlCloud
) -> None:
    runs.submit(SPEC, print)
    tags = {"llmops:stack": "dev", "llmops:jobs": PREFIX}
    for name in ("running", "failed"):
        runs._arm.put(f"{JOBS}/{name}", {"properties": {"jobType": "Command", "command": "true", "tags": tags}})
    cloud.ended("failed", "Failed")
    assert [run.spec.id for run in runs.find("")] == [RUN]
    said: list[str] = []
    runs.halt(said.append)
    assert "stopping job running" in said


def test_all_jobs_are_stopped_and_forgotten(runs: AzureRuns, cloud: MlCloud) -> None:
    runs.submit(SPEC, print)
    said: list[str] = []
    runs.halt(said.append)
    assert said == [f"stopping job {job_name(PREFIX, RUN)}"]
    runs.remove()
    assert names(cloud) == set()


def test_a_job_that_ends_by_itself_before_it_is_stopped_is_passed_over(runs: AzureRuns, cloud: MlCloud) -> None:
    runs.submit(SPEC, print)
    name = job_name(PREFIX, RUN)
    refused = (400, {"error": {"code": "UserError", "message": "the job is Failed"}}, {})
    send = cloud._find

    def ends_meanwhile(method: str, path: str, body: Any) -> Any:
        if method == "POST":
            cloud.ended(name, "Failed")
            return refused
        return send(method, path, body)

    cloud._find = ends_meanwhile  # type: ignore[method-assign]
    runs.halt(lambda _: None)
    assert [each.method for each in cloud.asked].count("POST") == 1


def test_a_run_that_is_not_there(runs: AzureRuns) -> None:
    for ask in (lambda: runs.resume("none", None, print), lambda: runs.request("none")):
        with pytest.raises(NotFoundError, match="there is no run none"):
            ask()


def rewrite(runs: AzureRuns, key: str, **changes: Any) -> None:
    """What a job can do: it may write in the whole container of runs."""
    spec = RunSpec.parse((runs._objects.find(key) or b"").decode(), where=key)
    runs._objects.put(key, spec.model_copy(update=changes).to_json().encode())


@pytest.mark.vulnerability(5)
@pytest.mark.parametrize("named", [True, False], ids=["rewritten", "older kit"])
def test_vulnerability_5_a_run_json_that_no_job_was_submitted_with_is_in_doubt(
    runs: AzureRuns, cloud: MlCloud, named: bool
) -> None:
    runs.submit(SPEC, print)
    name = job_name(PREFIX, RUN)
    if not named:
        del cloud.documents[f"{JOBS}/{name}"]["properties"]["environmentVariables"]
    evil = SPEC.dataset.model_copy(update={"sha256": "0" * 64})
    rewrite(runs, f"runs/{RUN}/input/spec/run.json", dataset=evil)
    cloud.ended(name, "Failed")
    (found,) = runs.find(RUN)
    assert ("changed it" if named else "an older kit") in found.doubt
    for ask in (lambda: runs.resume(RUN, None, print), lambda: runs.resume(RUN, None, print, SPEC)):
        with pytest.raises(RunError, match="what was submitted is not certain"):
            ask()
    with pytest.raises(RunError, match="what was submitted is not certain"):
        runs.request(RUN)
    assert names(cloud) == {name}
    rewrite(runs, f"runs/{RUN}/input/spec/run.json", dataset=SPEC.dataset, kit_version="older")
    runs.resume(RUN, None, print, SPEC)  # the caller's own inputs: their own spec is what is submitted
    (again,) = runs.find(RUN)
    assert (again.doubt, again.spec.kit_version) == ("", SPEC.kit_version)


@pytest.mark.vulnerability(5)
def test_vulnerability_5_a_run_that_was_laid_out_by_somebody_is_not_started_for_them(
    runs: AzureRuns, cloud: MlCloud
) -> None:
    runs._objects.put(f"runs/{RUN}/input/spec/run.json", SPEC.to_json().encode())
    runs._objects.put("runs/chatbot-broken/input/spec/run.json", b"\xff{")
    (found,) = runs.find("")
    assert "no job was started" in found.doubt
    with pytest.raises(RunError, match="what was submitted is not certain"):
        runs.resume(RUN, None, print)
    runs.resume(RUN, None, print, SPEC)
    assert names(cloud) == {job_name(PREFIX, RUN)}
    assert runs.find(RUN)[0].doubt == ""


def test_a_run_with_a_trainer_of_its_own_has_a_second_job_that_gets_what_the_first_one_left(
    runs: AzureRuns, cloud: MlCloud
) -> None:
    image = f"registry.azurecr.io/own@sha256:{'a' * 64}"
    spec = SPEC.model_copy(update={"trainer": TrainerJob(image=image, command=["python", "-m", "own", "a b"])})
    runs.submit(spec, print)
    first, second, third = (job_name(PREFIX, RUN, number) for number in (1, 2, 3))
    job = cloud.documents[f"{JOBS}/{first}"]["properties"]
    assert cloud.documents[job["environmentId"]]["properties"]["image"] == image
    assert job["command"].endswith(" python -m own 'a b'")
    assert "LLMOPS_FOLDER_DATASET=${{inputs.dataset}} " in job["command"]
    assert "LLMOPS_FAILURE=${{outputs.reports}}/failure " in job["command"]
    cloud.ended(first, "Failed")
    runs.resume(RUN, None, print)
    assert "trained" not in cloud.documents[f"{JOBS}/{second}"]["properties"]["inputs"]
    assert (runs.find(RUN)[0].state.status, runs.find(RUN)[0].state.job) == ("running", "trainer")
    cloud.ended(second, "Completed")
    state = runs.find(RUN)[0].state
    assert (state.status, state.job) == ("pending", "evaluation")
    with pytest.raises(RunError, match="is not running"):
        runs.stop(RUN)
    for _ in range(2):  # by two callers at once
        runs._start_second_job(RUN)
    assert names(cloud) == {first, second, third}
    job = cloud.documents[f"{JOBS}/{third}"]["properties"]
    assert job["environmentId"] == f"{WORKSPACE}/environments/training/versions/1"
    assert job["inputs"]["trained"]["uri"].endswith(f"/paths/runs/{RUN}/output/{second}/model/")
    assert job["outputs"]["checkpoints"]["mode"] == "Upload", "what was planted there is not read"
    assert job["command"].startswith("python -m llmops_kit.training train ")
    assert "--folder trained=${{inputs.trained}}" in job["command"]
    cloud.ended(third, "Failed")
    runs.resume(RUN, None, print)
    fourth = cloud.documents[f"{JOBS}/{job_name(PREFIX, RUN, 4)}"]["properties"]
    assert fourth["inputs"] == job["inputs"] | {"spec": fourth["inputs"]["spec"]}
    cloud.ended(job_name(PREFIX, RUN, 4), "Completed")
    assert runs.find(RUN)[0].state.status == "completed"
    assert runs.find(RUN)[0].doubt == ""
    with pytest.raises(RunError, match="it has two jobs, so it has no single request"):
        runs.request(RUN)  # for `export sagemaker`
