"""Builds the command job of a run on Azure Machine Learning, for submitted and scheduled runs alike.

https://learn.microsoft.com/azure/templates/microsoft.machinelearningservices/workspaces/jobs (CommandJob)
https://learn.microsoft.com/azure/machine-learning/how-to-read-write-data-v2 (inputs, outputs and their modes)
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmops_kit.core.documents.outputs import AzureCompute
from llmops_kit.core.documents.run import SPEC_VARIABLE, Compute, RunSpec, StoredSpec
from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import (
    FAILURE,
    FAILURE_VARIABLE,
    FOLDER_VARIABLES,
    dataset_key,
    model_key,
    run_checkpoints_key,
    run_evaluation_key,
    run_output_key,
)

SPEC_INPUT = "spec"
TRAINED_INPUT = "trained"
"""Input of a run's second job: the output of its trainer in the first one."""
SCHEDULED_RUN = "${{name}}"
"""Stands for the job's own name in the paths of outputs: a job that a schedule starts is a separate run."""
RUN_TAG = "llmops:run"
"""Tag of submitted jobs: their run. A job that a schedule started has none."""
JOBS_TAG = "llmops:jobs"
"""Tag of all jobs of a stack: the prefix of their names, which names of scheduled jobs lack."""
_JOB_NAME_VARIABLE = "$AZUREML_RUN_ID"  # set by Azure in the job's shell
# Size of /dev/shm, by which NCCL passes gradients between the GPUs of a node; Azure's default of 2g is scarce for
# eight: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html#shared-memory
_SHARED_MEMORY = "8g"


@dataclass(frozen=True)
class AzureJobContext:
    """Workspace, clusters and identity of a stack's jobs."""

    prefix: str
    """Prefix of the names of the stack's jobs."""
    computes: str
    """Id of the workspace's computes, without a cluster's name: …/workspaces/<workspace>/computes."""
    clusters: Mapping[str, AzureCompute]
    environment: str
    """Id of the environment version that has the training image, or that of the run's trainer."""
    client_id: str
    """Client id of the identity that jobs read and write as."""
    store: str
    """Datastore of versions."""
    work: str
    """Datastore of runs."""
    checkpoints: str
    """Datastore of files that outlive a run's jobs, but have no use after the run."""
    tags: Mapping[str, str] = field(default_factory=dict)


def command_job(name: str, run: str, spec: RunSpec, stored: StoredSpec, place: AzureJobContext) -> dict[str, Any]:
    """Returns the properties of a CommandJob for Azure Resource Manager.

    Azure chooses where folders are mounted; the command passes the paths to the trainer
    (llmops_kit.core.layout.TrainingFolders). Inputs are downloaded, because they are read several times. The model
    is uploaded when the job ends; checkpoints and reports are written through, because they must outlive a reclaimed
    machine.

    Args:
        name: the job's; SCHEDULED_RUN in a schedule.
        run: the run's id, which may be another than the spec's: a schedule repeats a spec (SCHEDULED_RUN).
        spec: recipe, inputs and machines. With its own trainer, a run has two jobs.
        stored: where the job finds the spec, and the second of two jobs the output of the first one.
        place: workspace, clusters and identity of the stack's jobs.

    Raises:
        KitError: no cluster has such machines, or a setting has no effect on Azure ML.
    """
    assert spec.compute
    output = f"{run_output_key(run)}/{name}"
    inputs = {
        SPEC_INPUT: _input(place.work, stored.folder),
        "dataset": _input(place.store, dataset_key(spec.dataset.sha256)),
        "base_model": _input(place.store, model_key(spec.base_model.sha256)),
    }
    outputs = {
        "model": _output(place.work, f"{output}/model", "Upload"),
        "reports": _output(place.work, f"{output}/reports", "ReadWriteMount"),
        "checkpoints": _output(place.checkpoints, run_checkpoints_key(run), "ReadWriteMount"),
    }
    if stored.trained:
        inputs[TRAINED_INPUT] = _input(place.work, stored.trained)
        # A folder for upload starts empty, so that the trainer can't plant a finished evaluation in it.
        outputs["checkpoints"] = _output(place.checkpoints, run_evaluation_key(run), "Upload")
    trainer = None if stored.trained else spec.trainer
    job: dict[str, Any] = {
        "jobType": "Command",
        "displayName": spec.id if run == SCHEDULED_RUN else run,
        "experimentName": spec.recipe.name,
        "command": _own_command(trainer.command, inputs, outputs)
        if trainer
        else _command(inputs, outputs, scheduled=run == SCHEDULED_RUN),
        "environmentId": place.environment,
        "environmentVariables": {SPEC_VARIABLE: stored.sha256},
        "computeId": f"{place.computes}/{choose_cluster(spec.compute, place.clusters)}",
        "identity": {"identityType": "Managed", "clientId": place.client_id},
        "resources": {"instanceCount": spec.compute.instances, "shmSize": _SHARED_MEMORY},
        "limits": {"jobLimitsType": "Command", "timeout": f"PT{spec.compute.max_hours}H"},
        "inputs": inputs,
        "outputs": outputs,
        "tags": {**place.tags, JOBS_TAG: place.prefix, **({} if run == SCHEDULED_RUN else {RUN_TAG: run})},
    }
    if spec.compute.instances > 1:
        # One process on each node: it starts one per GPU itself, as on every platform.
        job["distribution"] = {"distributionType": "PyTorch", "processCountPerInstance": 1}
    return job


def choose_cluster(wanted: Compute, clusters: Mapping[str, AzureCompute]) -> str:
    """Returns the name of a cluster with the machines that a run requires.

    Raises:
        KitError: there is none, or the run has a setting that belongs to the cluster on Azure.
    """
    for key, what in {
        "warm_pool_minutes": "a cluster keeps its machines for as long as its `idle_minutes` say",
        "volume_gb": "the VM size brings the disk",
        "max_wait_hours": "a job waits for its cluster as long as it takes",
    }.items():
        if getattr(wanted, key) != Compute.model_fields[key].default:
            raise KitError(f"has no effect on Azure: {what}", where=key, fix="leave it out; see `azure.computes`")
    fitting = {
        name: cluster.max_nodes
        for name, cluster in clusters.items()
        if cluster.vm_size.lower() == wanted.instance_type.lower() and cluster.spot == wanted.spot
    }
    if not fitting:
        known = ", ".join(f"{name} ({_in_words(c.vm_size, c.spot)})" for name, c in clusters.items()) or "none"
        raise KitError(
            f"no cluster of the stack has {_in_words(wanted.instance_type, wanted.spot)} machines; there are: {known}",
            where="azure.computes",
            fix=f"add one with `vm_size: {wanted.instance_type}` and `spot: {'on' if wanted.spot else 'off'}`, then "
            "`llmops up`; a cluster costs nothing while nothing runs",
        )
    name = max(fitting, key=lambda each: fitting[each])
    if fitting[name] < wanted.instances:
        raise KitError(
            f"cluster {name} has {fitting[name]} nodes at most, and the run wants {wanted.instances}",
            where="azure.computes",
            fix="write more as its `max_nodes`, then `llmops up`; or ask for fewer instances",
        )
    return name


def job_name(prefix: str, run: str, attempt: int = 1) -> str:
    """Returns the name of a run's job. No name is used twice in a workspace, so each resumption gets its own.

    Azure takes 255 characters; a run's id has 63 at most, and a prefix fewer than 100.

    Args:
        prefix: of the stack's jobs.
        run: its id; that of a scheduled run is its first job's name.
        attempt: from 1.
    """
    own = run if run.startswith(f"{prefix}-") else f"{prefix}-{run}"
    return own + (f"-{attempt}" if attempt > 1 else "")


def datastore_path(datastore: str, key: str) -> str:
    """Returns the URI of a folder in a datastore of the workspace, for inputs and outputs of jobs."""
    return f"azureml://datastores/{datastore}/paths/{key}"


def key_of(path: str) -> str:
    """Returns the key of a folder in its container, from a datastore path of either form."""
    return path.partition("/paths/")[2].strip("/")


def _command(inputs: Iterable[str], outputs: Iterable[str], *, scheduled: bool) -> str:
    words = ["python -m llmops_kit.training train"]
    words += [f"--folder {name}={value}" for name, value in _mounted(inputs, outputs).items()]
    return " ".join(words + ([f"--run {_JOB_NAME_VARIABLE}"] if scheduled else []))


def _own_command(command: Sequence[str], inputs: Iterable[str], outputs: Iterable[str]) -> str:
    """Returns a trainer's command, with the variables by which it finds its folders."""
    folders = _mounted(inputs, outputs)
    variables = {FOLDER_VARIABLES[name]: value for name, value in folders.items()}
    variables[FAILURE_VARIABLE] = f"{folders['reports']}/{FAILURE}"
    return " ".join([*(f"{name}={value}" for name, value in variables.items()), shlex.join(command)])


def _mounted(inputs: Iterable[str], outputs: Iterable[str]) -> dict[str, str]:
    """Returns folder -> the expression that Azure replaces by its mount path."""
    read = {name: f"${{{{inputs.{name}}}}}" for name in inputs}
    return read | {name: f"${{{{outputs.{name}}}}}" for name in outputs}


def _input(datastore: str, key: str) -> dict[str, str]:
    return {"jobInputType": "uri_folder", "mode": "Download", "uri": datastore_path(datastore, f"{key}/")}


def _output(datastore: str, key: str, mode: str) -> dict[str, str]:
    return {"jobOutputType": "uri_folder", "mode": mode, "uri": datastore_path(datastore, f"{key}/")}


def _in_words(vm_size: str, spot: bool) -> str:
    return f"{vm_size}, {'spot' if spot else 'dedicated'}"
