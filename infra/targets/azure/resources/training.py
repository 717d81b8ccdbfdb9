"""Where runs execute: clusters that cost nothing while nothing runs, the environments, and the runs that are repeated.

A run itself is an event, never a resource.
"""

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import pulumi
from pulumi_azure_native import machinelearningservices as ml
from pydantic import ValidationError

from clouds.azure.jobs import (
    SCHEDULED_RUN,
    JobPlace,
    command_job,
    job_name,
)
from clouds.azure.settings import AzureSettings, Cluster, Schedule
from contract.documents.outputs import AzureCompute
from contract.documents.run import (
    SPEC_VARIABLE,
    Compute,
    RunSpec,
    StoredSpec,
)
from contract.documents.validation import first_message
from contract.integrity.digest import sha256_bytes
from contract.layout import SPEC, run_spec_key, schedule_key
from infra.names import CloudNames
from infra.schedules import proven_spec
from infra.settings import setting_error
from infra.targets.azure.asset import Asset
from infra.targets.azure.cluster_removal import ClusterRemoval
from infra.targets.azure.here import Ground, Here
from infra.targets.azure.online import API
from infra.targets.azure.scheduled_spec import ScheduledSpec
from infra.targets.azure.session import Place, find
from infra.targets.azure.storage import container_name, read_object

SERVER_PORT, PING = 8080, "/ping"
_KIND = "azure-native:machinelearningservices"
_LONGEST_CLUSTER_NAME = 24


@dataclass(frozen=True)
class Environment:
    """A version of an environment: one image, by digest."""

    resource: Asset
    plain_id: str
    image: str

    @property
    def id(self) -> pulumi.Output[str]:
        """Resource id, once it is there."""
        return self.resource.id


def read_specs(
    place: Place, account_id: str, workspace_id: str, own: CloudNames, given: AzureSettings
) -> dict[str, str]:
    """The spec of each schedule's run, as JSON. Jobs may write where runs lie: a spec counts only if the request of the
    run's job names its sha256, or the schedule that repeats it.

    Args:
        place: the stack's.
        account_id: resource id of the storage account.
        workspace_id: resource id of the workspace.
        own: the stack's names.
        given: from the settings.

    Raises:
        SettingError: there is no such run, or what is there is not what was submitted.
    """
    container, found = container_name(own, given, "work"), {}
    read = partial(read_object, place, account_id, container)
    for name, schedule in given.schedules.items():
        job = f"{workspace_id}/jobs/{job_name(own.of('run', 26), schedule.run)}"
        repeated = f"{workspace_id}/schedules/{own.of(name)}"
        wanted = (
            (run_spec_key(schedule.run), partial(_of_job, place, job)),
            (f"{schedule_key(name, schedule.run)}/{SPEC}", partial(_of_schedule, place, repeated)),
        )
        setting = ("azure", "schedules", name, "run")
        found[name] = proven_spec(setting, schedule.run, f"container {container}", read, wanted)
    return found


def provide_computes(here: Here, ground: Ground) -> dict[str, AzureCompute]:
    """Declare the clusters; by their names on Azure.

    Azure changes neither size nor priority of a cluster: another one comes beside it, under another name.
    """
    made = {}
    for name, cluster in here.settings.azure.computes.items():
        physical = cluster_name(here, name, cluster)
        _cluster(here, ground, f"compute-{name}-{physical[-8:]}", physical, cluster)
        made[physical] = AzureCompute(vm_size=cluster.vm_size, spot=cluster.spot, max_nodes=cluster.max_nodes)
    return made


def cluster_name(here: Here, name: str, cluster: Cluster) -> str:
    """3 to 24 letters, digits and dashes, of what can't change; its last part is no number, which Azure refuses.

    https://learn.microsoft.com/azure/templates/microsoft.machinelearningservices/workspaces/computes
    """
    parts = (here.project, here.stack, name, cluster.vm_size, str(cluster.spot), *(["isolated"] * _is_isolated(here)))
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"{name[: _LONGEST_CLUSTER_NAME - 9].rstrip('-')}-c{digest[:7]}"


def provide_environments(here: Here, ground: Ground) -> dict[str, Environment]:
    """Declare what jobs and endpoints run: training and serving, where the settings have their images."""
    images = here.settings.images
    routes = {f"{name}Route": {"path": PING, "port": SERVER_PORT} for name in ("liveness", "readiness", "startup")}
    # Every path of the server, the OpenAI ones too: https://learn.microsoft.com/azure/machine-learning/how-to-deploy-custom-container
    routes["scoringRoute"] = {"path": "/", "port": SERVER_PORT}
    wanted = {"training": (images.training, None), "serving": (images.serving, routes)}
    return {name: _environment(here, ground, name, *parts) for name, parts in wanted.items() if parts[0]}


def provide_schedules(
    here: Here,
    ground: Ground,
    specs: dict[str, str],
    environments: dict[str, Environment],
    clusters: dict[str, AzureCompute],
) -> None:
    """Declare the schedules.

    https://learn.microsoft.com/azure/machine-learning/how-to-schedule-pipeline-job

    Args:
        here: the stack's place.
        ground: what jobs stand on.
        specs: from `read_specs`.
        environments: from `provide_environments`.
        clusters: from `provide_computes`.
    """
    for name, text in specs.items():
        schedule = here.settings.azure.schedules[name]
        folder = schedule_key(name, schedule.run)
        spec = _spec(here, name, schedule, text)
        content = spec.to_json()
        kept = ScheduledSpec(
            f"schedule-{name}-spec",
            here.place,
            container=ground.storage.work_url,
            key=f"{folder}/{SPEC}",
            content=content,
            after=ground.storage.ready,
        )
        stored = StoredSpec(folder, sha256_bytes(content.encode()))
        job = _job(here, ground, spec, stored, environments["training"], clusters)
        logical, physical = f"schedule-{name}", here.names.of(name)
        ml.Schedule(
            logical,
            name=physical,
            properties=ml.SchedulePropertiesArgs(
                display_name=name,
                is_enabled=schedule.on,
                trigger=ml.CronTriggerArgs(trigger_type="Cron", expression=schedule.cron, time_zone=schedule.timezone),
                action=ml.JobScheduleActionArgs(action_type="CreateJob", job_definition=job),
                tags=here.all_tags,
            ),
            **_in_workspace(ground),
            opts=here.adopted(
                f"{_KIND}:Schedule",
                logical,
                f"{ground.workspace.plain_id}/schedules/{physical}",
                API,
                depends_on=[kept, environments["training"].resource, *ground.ready],
            ),
        )


def _cluster(here: Here, ground: Ground, logical: str, physical: str, cluster: Cluster) -> None:
    id_ = f"{ground.workspace.plain_id}/computes/{physical}"
    made = ml.Compute(
        logical,
        compute_name=physical,
        location=ground.location,
        identity=ml.ManagedServiceIdentityArgs(type="UserAssigned", user_assigned_identities=[ground.training.id]),
        properties=ml.AmlComputeArgs(
            compute_type="AmlCompute",
            compute_location=ground.location,
            disable_local_auth=True,
            properties=ml.AmlComputePropertiesArgs(
                os_type="Linux",
                vm_size=cluster.vm_size,
                vm_priority="LowPriority" if cluster.spot else "Dedicated",
                scale_settings=ml.ScaleSettingsArgs(
                    min_node_count=cluster.min_nodes,
                    max_node_count=cluster.max_nodes,
                    node_idle_time_before_scale_down=f"PT{cluster.idle_minutes}M",
                ),
                enable_node_public_ip=not _is_isolated(
                    here
                ),  # without one, a machine needs a network to reach Azure ML
                remote_login_port_public_access="Disabled",
            ),
        ),
        tags=here.all_tags,
        **_in_workspace(ground),
        opts=here.adopted(
            f"{_KIND}:Compute",
            logical,
            id_,
            API,
            depends_on=[*ground.workspace.ready, *ground.training.ready],
        ),
    )
    ClusterRemoval(f"{logical}-removal", here.place, cluster=id_, after=made)


def _is_isolated(here: Here) -> bool:
    return here.settings.azure.network.mode != "none"


def _environment(
    here: Here, ground: Ground, name: str, image: str, routes: dict[str, dict[str, Any]] | None
) -> Environment:
    version = hashlib.sha256(image.encode()).hexdigest()[:12]  # a version's image can't change
    logical, physical = f"environment-{name}-{version}", here.names.of(name)
    id_ = f"{ground.workspace.plain_id}/environments/{physical}/versions/{version}"
    properties: dict[str, Any] = {
        "image": image,
        "osType": "Linux",
        "description": f"{name} image of {here.project}, stack {here.stack}",
        "tags": here.all_tags,
    }
    if routes:
        properties["inferenceConfig"] = routes
    made = Asset(logical, here.place, asset=id_, properties=properties, after=ground.workspace.ready)
    return Environment(made, id_, image)


def _of_job(place: Place, id_: str) -> str:
    """The sha256 of the spec that a job was submitted with; empty: there is no such job, or an older kit's."""
    return _named((find(place, id_, API) or {}).get("properties", {}))


def _of_schedule(place: Place, id_: str) -> str:
    """The sha256 of the spec that a schedule repeats; empty: there is no such schedule, or an older kit's."""
    properties = (find(place, id_, API) or {}).get("properties", {})
    return _named((properties.get("action") or {}).get("jobDefinition") or {})


def _named(job: dict[str, Any]) -> str:
    return (job.get("environmentVariables") or {}).get(SPEC_VARIABLE, "")


def _spec(here: Here, name: str, schedule: Schedule, text: str) -> RunSpec:
    """What a schedule repeats: a run's inputs, in the stack's image, on the machines that the settings say."""
    jobs = here.settings.azure.jobs
    own = {"instance_type": schedule.instance_type, "max_hours": schedule.max_hours}
    given = jobs.model_dump() | {key: value for key, value in own.items() if value}
    try:
        compute = Compute.model_validate(given)
    except ValidationError as e:
        what = f"with `jobs`: {first_message(e)}"
        raise setting_error(("azure", "schedules", name), what, "change one of the two") from None
    spec = RunSpec.parse(text, where=f"run {schedule.run}")
    return spec.model_copy(update={"image": here.settings.images.training, "compute": compute})


def _job(
    here: Here,
    ground: Ground,
    spec: RunSpec,
    stored: StoredSpec,
    environment: Environment,
    clusters: dict[str, AzureCompute],
) -> pulumi.Output[ml.CommandJobArgs]:
    values = {
        "environment": environment.id,
        "client_id": ground.training.client_id,
        "store": ground.workspace.datastores["store"],
        "work": ground.workspace.datastores["work"],
        "checkpoints": ground.workspace.datastores["checkpoints"],
    }
    computes = f"{ground.workspace.plain_id}/computes"

    def declare(known: dict[str, Any]) -> ml.CommandJobArgs:
        place = JobPlace(job_prefix(here), computes, clusters, tags=here.all_tags, **known)
        return _arguments(command_job(SCHEDULED_RUN, SCHEDULED_RUN, spec, stored, place))

    return pulumi.Output.all(**values).apply(declare)


def job_prefix(here: Here) -> str:
    """What the names of the stack's jobs begin with, and what the ones of its schedules are marked with."""
    return here.names.of("run", 26)


def _arguments(job: dict[str, Any]) -> ml.CommandJobArgs:
    """A job in the words of Azure's API as the provider's arguments."""
    distribution = job.get("distribution")
    return ml.CommandJobArgs(
        job_type=job["jobType"],
        display_name=job["displayName"],
        experiment_name=job["experimentName"],
        command=job["command"],
        environment_id=job["environmentId"],
        environment_variables=job["environmentVariables"],
        compute_id=job["computeId"],
        identity=ml.ManagedIdentityArgs(
            identity_type=job["identity"]["identityType"], client_id=job["identity"]["clientId"]
        ),
        resources=ml.JobResourceConfigurationArgs(instance_count=job["resources"]["instanceCount"]),
        limits=ml.CommandJobLimitsArgs(job_limits_type="Command", timeout=job["limits"]["timeout"]),
        distribution=ml.PyTorchArgs(
            distribution_type="PyTorch", process_count_per_instance=distribution["processCountPerInstance"]
        )
        if distribution
        else None,
        inputs={
            name: ml.UriFolderJobInputArgs(job_input_type="uri_folder", mode=each["mode"], uri=each["uri"])
            for name, each in job["inputs"].items()
        },
        outputs={
            name: ml.UriFolderJobOutputArgs(job_output_type="uri_folder", mode=each["mode"], uri=each["uri"])
            for name, each in job["outputs"].items()
        },
        tags=job["tags"],
    )


def _in_workspace(ground: Ground) -> dict[str, Any]:
    return {"resource_group_name": ground.workspace.group, "workspace_name": ground.workspace.name}
