"""The command job of a run on Azure ML: where its folders are, its machines, and what is refused."""

import re
from typing import Any

import pytest

from llmops_kit.clouds.azure.job_requests import (
    SCHEDULED_RUN,
    AzureJobContext,
    choose_cluster,
    command_job,
    job_name,
    key_of,
)
from llmops_kit.core.documents.outputs import AzureCompute
from llmops_kit.core.documents.run import SPEC_VARIABLE, Compute, RunSpec, StoredSpec
from llmops_kit.core.errors import KitError
from tests.support.checkout import EXAMPLES

EXAMPLE = EXAMPLES / "run-2.json"
WORKSPACE = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws"
CLUSTERS = {
    "cpu": AzureCompute(vm_size="Standard_DS3_v2"),
    "cpu-many": AzureCompute(vm_size="Standard_DS3_v2", max_nodes=4),
    "gpu-spot": AzureCompute(vm_size="Standard_NC6s_v3", spot=True, max_nodes=2),
}
PREFIX = "llmops-dev-3f9a0c1e"
PLACE = AzureJobContext(
    prefix=PREFIX,
    computes=f"{WORKSPACE}/computes",
    clusters=CLUSTERS,
    environment=f"{WORKSPACE}/environments/training/versions/1",
    client_id="11111111-1111-1111-1111-111111111111",
    store="store",
    work="work",
    checkpoints="checkpoints",
    tags={"llmops:stack": "dev"},
)
RUN = "chatbot-20261125-210648-50bd"
STORED = StoredSpec(f"runs/{RUN}/input/spec", "d" * 64)


def job(run: str = RUN, name: str = "", **compute: Any) -> dict[str, Any]:
    machines = Compute(**{"instance_type": "Standard_DS3_v2", **compute})
    spec = RunSpec.load(EXAMPLE).model_copy(update={"id": RUN, "compute": machines})
    return command_job(name or job_name(PREFIX, run), run, spec, STORED, PLACE)


def test_everything_of_a_run_is_in_its_folder() -> None:
    made = job()
    assert {n: each["uri"] for n, each in made["inputs"].items()} == {
        "spec": f"azureml://datastores/work/paths/runs/{RUN}/input/spec/",
        "dataset": f"azureml://datastores/store/paths/datasets/{RunSpec.load(EXAMPLE).dataset.sha256}/",
        "base_model": f"azureml://datastores/store/paths/models/{RunSpec.load(EXAMPLE).base_model.sha256}/",
    }
    name = job_name(PREFIX, RUN)
    assert {n: (each["uri"], each["mode"]) for n, each in made["outputs"].items()} == {
        "model": (f"azureml://datastores/work/paths/runs/{RUN}/output/{name}/model/", "Upload"),
        "reports": (f"azureml://datastores/work/paths/runs/{RUN}/output/{name}/reports/", "ReadWriteMount"),
        "checkpoints": (f"azureml://datastores/checkpoints/paths/runs/{RUN}/checkpoints/", "ReadWriteMount"),
    }
    assert made["tags"] == {"llmops:stack": "dev", "llmops:jobs": PREFIX, "llmops:run": RUN}
    assert made["environmentVariables"] == {SPEC_VARIABLE: STORED.sha256}
    assert key_of(made["outputs"]["model"]["uri"]) == f"runs/{RUN}/output/{name}/model"


def test_the_command_names_every_folder_that_is_mounted() -> None:
    made = job()
    placed = dict(re.findall(r"--folder (\w+)=\$\{\{(\w+)\.\1\}\}", made["command"]))
    assert placed == dict.fromkeys(made["inputs"], "inputs") | dict.fromkeys(made["outputs"], "outputs")
    assert made["command"].startswith("python -m llmops_kit.training train ")
    assert "--run" not in made["command"]


def test_a_schedules_job_is_a_run_of_its_own() -> None:
    made = job(run=SCHEDULED_RUN, name=SCHEDULED_RUN)
    assert made["command"].endswith(" --run $AZUREML_RUN_ID")
    uri = made["outputs"]["model"]["uri"]
    assert uri == "azureml://datastores/work/paths/runs/${{name}}/output/${{name}}/model/"
    assert made["tags"] == {"llmops:stack": "dev", "llmops:jobs": PREFIX}


def test_machines_are_what_the_run_asks_for() -> None:
    made = job(max_hours=2)
    assert made["computeId"] == f"{WORKSPACE}/computes/cpu-many"
    assert made["limits"]["timeout"] == "PT2H"
    assert made["resources"] == {"instanceCount": 1, "shmSize": "8g"}
    assert "distribution" not in made
    several = job(instances=3)
    assert several["resources"] == {"instanceCount": 3, "shmSize": "8g"}
    assert several["distribution"] == {"distributionType": "PyTorch", "processCountPerInstance": 1}
    spot = job(instance_type="standard_nc6s_V3", spot=True)
    assert spot["computeId"].endswith("/computes/gpu-spot")


@pytest.mark.parametrize(
    ("wanted", "what", "where"),
    [
        ({"instance_type": "Standard_NC6s_v3"}, "no cluster of the stack has Standard_NC6s_v3, dedicated", "computes"),
        ({"spot": True}, r"there are: cpu \(Standard_DS3_v2, dedicated\)", "azure.computes"),
        ({"instances": 5}, "cpu-many has 4 nodes at most", "azure.computes"),
        ({"warm_pool_minutes": 5}, "idle_minutes", "warm_pool_minutes"),
        ({"volume_gb": 80}, "brings the disk", "volume_gb"),
        ({"spot": True, "max_wait_hours": 30}, "as long as it takes", "max_wait_hours"),
    ],
)
def test_machines_that_the_stack_has_not_are_refused(wanted: dict[str, Any], what: str, where: str) -> None:
    with pytest.raises(KitError, match=what) as caught:
        choose_cluster(Compute(**{"instance_type": "Standard_DS3_v2", **wanted}), CLUSTERS)
    assert where in caught.value.where
    assert caught.value.fix


def test_without_clusters_the_way_out_is_named() -> None:
    with pytest.raises(KitError, match="there are: none") as caught:
        choose_cluster(Compute(instance_type="ml.m5.xlarge"), {})
    assert "llmops up" in caught.value.fix


@pytest.mark.parametrize("run", [RUN, f"{PREFIX}-nightly-20261125T030000Z", "x" * 63])
def test_each_attempt_has_a_name_of_its_own_within_the_stacks_prefix(run: str) -> None:
    names = [job_name(PREFIX, run, attempt) for attempt in (1, 2, 99)]
    assert len(set(names)) == 3
    for name in names:
        assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}", name)
        assert name.startswith(f"{PREFIX}-")
        assert run in name
