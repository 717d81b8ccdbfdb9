"""Command jobs whose processes really run: what they find, what they leave, and how they end."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from azure.storage.blob import BlobClient

from llmops_twins.azure import faults
from tests.support.runs.jobs import trainee
from twins.tests.support.azure_ml import VERSION, Ml, fetch, running_ml, wait

RUNS = "azureml://datastores/work/paths/runs"


@pytest.fixture(scope="module")
def ml(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ml]:
    with running_ml(tmp_path_factory.mktemp("twin")) as made:
        made.environment("code", trainee())
        made.write("store", rows__a="1\n", rows__sub__b="2\n")
        made.cluster("cpu")
        made.cluster("spot", vmPriority="LowPriority")
        yield made


def begin(ml: Ml, name: str, code: str, command: str = "python -m trainee", **more: Any) -> str:
    """Start a job that executes code."""
    more["environmentVariables"] = {"CODE": code, **more.get("environmentVariables", {})}
    return ml.begin(name, f"{ml.id}/environments/code/versions/1", command, **more)


def output(path: str, mode: str) -> dict[str, str]:
    return {"jobOutputType": "uri_folder", "uri": f"{RUNS}/{path}/", "mode": mode}


def failure(ml: Ml, job: str) -> str:
    return ml.details(job)["error"]["error"]["message"]


def test_folders_variables_and_what_is_left(ml: Ml) -> None:
    code = """
import shutil
rows, steps = Path(sys.argv[2] if len(sys.argv) > 2 else os.environ["AZURE_ML_INPUT_rows"]), os.environ["STEPS"]
print("found", sorted(p.relative_to(rows).as_posix() for p in rows.rglob("*") if p.is_file()), steps)
print("run", os.environ["AZUREML_RUN_ID"], os.environ["AZUREML_EXPERIMENT_NAME"])
model = Path(os.environ["AZURE_ML_OUTPUT_model"])
(model / "deep").mkdir()
(model / "deep/weights").write_text("w")
(Path(os.environ["AZURE_ML_OUTPUT_kept"]) / "state").write_text("s")
try:
    (rows / "c").write_text("x")
except OSError:
    print("inputs are read-only")
"""
    rows = {"jobInputType": "uri_folder", "uri": "azureml://datastores/store/paths/rows/", "mode": "Download"}
    name = begin(
        ml,
        "folders",
        code,
        command="ls ${{inputs.rows}} ${{outputs.model}} && STEPS=${{inputs.steps}} python -m trainee",
        inputs={"rows": rows, "steps": {"jobInputType": "literal", "value": "7"}},
        outputs={"model": output("${{name}}/model", "Upload"), "kept": output("${{name}}/kept", "ReadWriteMount")},
        experimentName="small",
    )
    assert ml.until(name) == "Completed"
    said = ml.log(name)
    assert "found ['a', 'sub/b'] 7" in said
    assert "run folders small" in said
    assert ml.read("work", "runs/folders/model") == {"deep/weights": "w"}
    assert ml.read("work", "runs/folders/kept") == {"state": "s"}
    details = ml.details(name)
    assert (details["status"], details["error"]) == ("Completed", None)
    assert details["startTimeUtc"] <= details["endTimeUtc"]


def test_logs_are_read_while_it_runs_like_blobs(ml: Ml) -> None:
    name = begin(ml, "talks", "print('first'); catch(); wait_for_the_end()")
    ml.until(name, "Running")
    wait(lambda: True if "user_logs/std_log.txt" in ml.details(name)["logFiles"] else None)
    url = ml.details(name)["logFiles"]["user_logs/std_log.txt"]
    with BlobClient.from_blob_url(url, connection_verify=ml.hosts.trusted) as blob:
        assert wait(lambda: text if (text := blob.download_blob().readall()) else None) == b"first\n"
        assert blob.download_blob(offset=2).readall() == b"rst\n"
    answer = ml.arm.call("POST", f"{ml.id}/jobs/{name}/cancel", VERSION)
    assert answer.status == 202
    assert ml.until(name) == "Canceled"


def test_a_failure_tells_the_exit_code_and_the_last_lines(ml: Ml) -> None:
    name = begin(ml, "fails", "print('no such column'); sys.exit(3)", outputs={"kept": output("fails", "Upload")})
    assert ml.until(name) == "Failed"
    assert "exited with status code 3" in failure(ml, name)
    assert "no such column" in failure(ml, name)


def test_a_limit_of_time_ends_a_job(ml: Ml) -> None:
    limits = {"jobLimitsType": "Command", "timeout": "PT1S"}
    name = begin(ml, "long", "catch(); wait_for_the_end()", limits=limits)
    assert ml.until(name) == "Failed"
    assert "exceeded its limit of 1 seconds" in failure(ml, name)


def test_several_nodes_and_processes_find_each_other(ml: Ml) -> None:
    code = """
import socket
names = ["MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "RANK", "LOCAL_RANK"]
print({name: os.environ[name] for name in names if name != "MASTER_PORT"})
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if os.environ["RANK"] == "0":
    server = socket.create_server(address)
    print("met", sorted(server.accept()[0].recv(9).decode() for _ in range(3)))
else:
    while True:
        try:
            client = socket.create_connection(address)
            break
        except OSError:
            time.sleep(0.05)
    client.sendall(os.environ["RANK"].encode())
"""
    name = begin(
        ml,
        "several",
        code,
        resources={"instanceCount": 2},
        distribution={"distributionType": "PyTorch", "processCountPerInstance": 2},
    )
    assert ml.until(name) == "Completed", failure(ml, name)
    assert "met ['1', '2', '3']" in ml.log(name, "user_logs/std_log_process_00.txt")
    third = ml.log(name, "user_logs/std_log_process_03.txt")
    assert "'WORLD_SIZE': '4', 'NODE_RANK': '1', 'RANK': '3', 'LOCAL_RANK': '1'" in third


def test_jobs_wait_for_nodes(ml: Ml) -> None:
    first = begin(ml, "holds", "catch(); wait_for_the_end()", resources={"instanceCount": 2})
    ml.until(first, "Running")
    second = begin(ml, "waits", "print('at last')")
    ml.until(second, "Queued")
    states = ml.get("/computes/cpu")["properties"]["properties"]["nodeStateCounts"]
    assert states["runningNodeCount"] == 2
    assert ml.status(second) == "Queued"
    ml.arm.call("POST", f"{ml.id}/jobs/{first}/cancel", VERSION)
    assert ml.until(first) == "Canceled"
    assert ml.until(second) == "Completed"


def test_what_was_mounted_outlives_a_pre_emption(ml: Ml) -> None:
    code = """
kept = Path(os.environ["AZURE_ML_OUTPUT_kept"])
found = sorted(p.name for p in kept.iterdir())
print("found", found)
(kept / f"step-{len(found)}").write_text("x")
(kept / "old").unlink(missing_ok=True)
if not any(name.startswith("step") for name in found):
    catch(); wait_for_the_end()
    (kept / "last").write_text("y")
"""
    ml.write("work", runs__spot__old="o")
    faults.of(ml.twin).add("spot_reclaim", {"job": "taken", "after_file": "outputs/kept/step-1"})
    name = begin(ml, "taken", code, cluster="spot", outputs={"kept": output("spot", "ReadWriteMount")})
    assert ml.until(name) == "Completed"
    assert ml.log(name).splitlines() == ["found ['old']", "found ['last', 'step-1']"]
    assert set(ml.read("work", "runs/spot")) == {"step-1", "last", "step-2"}


def test_a_machine_is_taken_at_a_file_even_where_the_job_ends_at_once(ml: Ml) -> None:
    code = """
kept = Path(os.environ["AZURE_ML_OUTPUT_kept"]) / "step"
print("from", kept.exists())
kept.write_text("x")
"""
    faults.of(ml.twin).add("spot_reclaim", {"job": "quick", "after_file": "outputs/kept/step"})
    name = begin(ml, "quick", code, cluster="spot", outputs={"kept": output("quick", "ReadWriteMount")})
    assert ml.until(name) == "Completed"
    assert ml.log(name).splitlines() == ["from False", "from True"]


def test_a_missing_right_fails_a_job(ml: Ml) -> None:
    name = begin(
        ml,
        "forbidden",
        "print('never')",
        outputs={"kept": {"jobOutputType": "uri_folder", "uri": "azureml://datastores/store/paths/x/"}},
    )
    assert ml.until(name) == "Failed"
    assert "does not have authorization to perform action" in failure(ml, name)


def test_a_job_that_may_not_log_fails(ml: Ml) -> None:
    """Its lines go to the workspace's default container, as the cluster's identity."""
    with ml.twin.lock:
        ml.twin.drop(ml.logging["id"])
    try:
        name = begin(ml, "silent", "print('never')")
        assert ml.until(name) == "Failed"
        assert "containers/azureml', which the job's log" in failure(ml, name)
    finally:
        ml.logging = ml.allow("Storage Blob Data Contributor", ml.container("azureml"))


def test_faults_of_jobs(ml: Ml) -> None:
    faults.of(ml.twin).add("bad_image", {"image": "process:trainee*"})
    name = begin(ml, "bad", "print('never')")
    assert ml.until(name) == "Failed"
    assert "exec format error" in failure(ml, name)
    faults.of(ml.twin).clear()
    faults.of(ml.twin).add("crash", {"name": "crashed"})
    name = begin(ml, "crashed", "catch(); wait_for_the_end()")
    assert ml.until(name) == "Failed"
    assert "exited with status code 137" in failure(ml, name)


def test_runs_are_only_told_to_who_may_read(ml: Ml) -> None:
    url = f"{ml.twin.url}/history/v1.0{ml.id}/runs/folders/details"
    stranger = ml.token("https://management.azure.com", ml.hosts.principal("nosy"))
    status, body, _ = fetch(url, None, {"Authorization": f"Bearer {stranger}"}, ml.hosts.context())
    assert (status, json.loads(body)["error"]["code"]) == (403, "AuthorizationFailed")
    assert fetch(url, None, {}, ml.hosts.context())[0] == 401
