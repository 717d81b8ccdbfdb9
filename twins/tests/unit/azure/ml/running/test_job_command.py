"""The command of a job and its environment."""

from typing import Any

from llmops_twins.azure.ml.running.job_command import JobProcess, command_of, environment_of, processes_of

ID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/kit-ml/jobs/run-1"
FOLDERS = {("inputs", "rows"): "/mnt/rows", ("outputs", "model"): "/mnt/model"}


def command(text: str, **inputs: dict[str, str]) -> str:
    return command_of({"command": text, "inputs": inputs}, FOLDERS)


def test_placeholders_are_paths_and_values() -> None:
    rows, steps = {"jobInputType": "uri_folder"}, {"jobInputType": "literal", "value": "7"}
    text = "train --in ${{inputs.rows}} --out=${{ outputs.model }} --steps ${{inputs.steps}} $HOME"
    assert command(text, rows=rows, steps=steps) == "train --in /mnt/rows --out=/mnt/model --steps 7 $HOME"


def test_what_is_optional_is_left_out_without_its_input() -> None:
    text = "train $[[--seed ${{inputs.seed}}]] $[[--out ${{outputs.model}}]]"
    assert command(text) == "train  --out /mnt/model"
    assert command(text, seed={"value": "3"}) == "train --seed 3 --out /mnt/model"


def variables(place: JobProcess, **properties: Any) -> dict[str, str]:
    job = {"id": ID, "name": "run-1", "properties": {"experimentName": "tiny", **properties}}
    return environment_of(job, "client", FOLDERS, place, "https://localhost:1")


def test_a_process_knows_its_job_and_its_folders() -> None:
    found = variables(JobProcess(0, 1, 0, 1, "127.1.1.1", 29500), environmentVariables={"A": "b", "N": 1})
    assert (found["AZUREML_RUN_ID"], found["AZUREML_ARM_WORKSPACE_NAME"]) == ("run-1", "kit-ml")
    assert (found["AZURE_ML_INPUT_rows"], found["AZURE_ML_OUTPUT_model"]) == ("/mnt/rows", "/mnt/model")
    assert (found["DEFAULT_IDENTITY_CLIENT_ID"], found["A"], found["N"]) == ("client", "b", "1")
    assert "RANK" not in found


def test_ranks_of_pytorch() -> None:
    distribution = {"distributionType": "PyTorch", "processCountPerInstance": 2}
    found = variables(JobProcess(1, 3, 1, 2, "127.1.1.1", 29500), distribution=distribution)
    wanted = {
        "MASTER_ADDR": "127.1.1.1",
        "MASTER_PORT": "29500",
        "WORLD_SIZE": "6",
        "NODE_RANK": "1",
        "RANK": "3",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
    }
    assert {name: found[name] for name in wanted} == wanted
    assert processes_of({"distribution": distribution}) == 2
    assert processes_of({"distribution": {"distributionType": "Mpi", "processCountPerInstance": 4}}) == 1
    assert processes_of({}) == 1
