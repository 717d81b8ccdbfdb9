"""Clusters that scale to zero, environments, and scheduled runs.

A run itself is an event, never a resource.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
from pulumi_azure_native import machinelearningservices as ml

from llmops_kit.clouds.azure.job_requests import SCHEDULED_RUN, AzureJobContext, command_job
from llmops_kit.clouds.azure.settings import Cluster
from llmops_kit.core.documents.outputs import AzureCompute
from llmops_kit.core.documents.run import RunSpec, StoredSpec
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import SPEC, schedule_key
from llmops_kit.infra.targets.azure.providers.asset import Asset
from llmops_kit.infra.targets.azure.providers.cluster_removal import ClusterRemoval
from llmops_kit.infra.targets.azure.providers.scheduled_spec import AzureScheduledSpec
from llmops_kit.infra.targets.azure.resources.context import AzureStack, SharedResources
from llmops_kit.settings.resolved import ImageField, ResolvedSchedule

ImageName = Literal["training"] | ImageField
_SERVER_PORT, _PING = 8080, "/ping"


@dataclass(frozen=True)
class AzureEnvironment:
    """A version of an environment: one image, by digest."""

    resource: Asset
    plain_id: str
    image: str

    @property
    def id(self) -> pulumi.Output[str]:
        """Resource id, once it exists."""
        return self.resource.id


def declare_computes(stack: AzureStack, shared: SharedResources) -> dict[str, AzureCompute]:
    """Declare the clusters; returns them by their names on Azure."""
    made = {}
    for name, cluster in stack.azure.computes.items():
        _cluster(stack, shared, name, cluster)
        own = stack.inventory.cluster(name, cluster).name
        made[own] = AzureCompute(vm_size=cluster.vm_size, spot=cluster.spot, max_nodes=cluster.max_nodes)
    return made


def declare_environment(stack: AzureStack, shared: SharedResources, field: ImageName, image: str) -> AzureEnvironment:
    """Declare the environment of an image, by its field of `images`."""
    routes: dict[str, Any] = {}
    if field != "training":
        routes = {
            f"{each}Route": {"path": _PING, "port": _SERVER_PORT} for each in ("liveness", "readiness", "startup")
        }
        # Every path of the server, the OpenAI ones too: https://learn.microsoft.com/azure/machine-learning/how-to-deploy-custom-container
        routes["scoringRoute"] = {"path": "/", "port": _SERVER_PORT}
    return _environment(stack, shared, field.replace("_", "-"), image, routes)


def declare_schedules(
    stack: AzureStack,
    shared: SharedResources,
    specs: dict[str, str],
    environment: AzureEnvironment | None,
    clusters: dict[str, AzureCompute],
) -> None:
    """Declares the schedules that start jobs, each with the run's spec in the store.

    https://learn.microsoft.com/azure/machine-learning/how-to-schedule-pipeline-job

    Args:
        stack: that is declared.
        shared: the resources that jobs depend on.
        specs: the specs of runs by schedule.
        environment: of the jobs; None: the settings have neither an image nor schedules.
        clusters: from `declare_computes`.
    """
    ids = stack.inventory
    if environment is None:
        return
    for name, text in specs.items():
        schedule = stack.resolved.schedules[name]
        folder = schedule_key(name, schedule.run)
        spec = _spec(stack, schedule, text)
        content = spec.to_json()
        kept = AzureScheduledSpec(
            ids.names.logical(f"schedule-{name}-spec"),
            stack.location,
            stack.after(*shared.storage.ready),
            container=shared.storage.work_url,
            key=f"{folder}/{SPEC}",
            content=content,
        )
        stored = StoredSpec(folder, sha256_bytes(content.encode()))
        entry = stack.inventory.schedule(name)
        ml.Schedule(
            entry.logical,
            name=entry.name,
            properties=ml.SchedulePropertiesArgs(
                display_name=name,
                is_enabled=schedule.on,
                trigger=ml.CronTriggerArgs(trigger_type="Cron", expression=schedule.cron, time_zone=schedule.timezone),
                action=ml.JobScheduleActionArgs(
                    action_type="CreateJob",
                    job_definition=_job(stack, shared, spec, stored, environment, clusters),
                ),
                tags=stack.inventory.all_tags,
            ),
            **shared.workspace.arguments,
            opts=stack.options(entry, depends_on=[kept, environment.resource, *shared.ready]),
        )


def _cluster(stack: AzureStack, shared: SharedResources, name: str, cluster: Cluster) -> None:
    entry, location = stack.inventory.cluster(name, cluster), stack.location.location
    made = ml.Compute(
        entry.logical,
        compute_name=entry.name,
        location=location,
        identity=ml.ManagedServiceIdentityArgs(type="UserAssigned", user_assigned_identities=[shared.training.id]),
        properties=ml.AmlComputeArgs(
            compute_type="AmlCompute",
            compute_location=location,
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
                # Without one, a machine needs a network to reach Azure ML.
                enable_node_public_ip=not stack.inventory.isolated,
                remote_login_port_public_access="Disabled",
            ),
        ),
        tags=stack.inventory.all_tags,
        **shared.workspace.arguments,
        opts=stack.options(entry, depends_on=[*shared.workspace.ready, *shared.training.ready]),
    )
    ClusterRemoval(f"{entry.logical}-removal", stack.location, stack.after(made), cluster=entry.id)


def _environment(
    stack: AzureStack, shared: SharedResources, name: str, image: str, routes: dict[str, Any]
) -> AzureEnvironment:
    version = hashlib.sha256(image.encode()).hexdigest()[:12]  # a version's image can't change
    ids = stack.inventory
    id_ = f"{ids.id_of('workspace')}/environments/{ids.names.of(name)}/versions/{version}"
    properties: dict[str, Any] = {
        "image": image,
        "osType": "Linux",
        "description": f"{name} image of {ids.project}, stack {ids.stack}",
        "tags": ids.all_tags,
    }
    if routes:
        properties["inferenceConfig"] = routes
    logical = ids.names.logical(f"environment-{name}-{version}")
    made = Asset(logical, stack.location, stack.after(*shared.workspace.ready), asset=id_, properties=properties)
    return AzureEnvironment(made, id_, image)


def _spec(stack: AzureStack, schedule: ResolvedSchedule, text: str) -> RunSpec:
    """Returns the spec that a schedule repeats: inputs of the run, image of the stack, machines of the settings."""
    spec = RunSpec.parse(text, where=f"run {schedule.run}")
    return spec.model_copy(update={"image": stack.resolved.images.training, "compute": schedule.compute})


def _job(
    stack: AzureStack,
    shared: SharedResources,
    spec: RunSpec,
    stored: StoredSpec,
    environment: AzureEnvironment,
    clusters: dict[str, AzureCompute],
) -> pulumi.Output[ml.CommandJobArgs]:
    values = {
        "environment": environment.id,
        "client_id": shared.training.client_id,
        **shared.workspace.datastores,
    }
    ids = stack.inventory

    def declare(known: dict[str, Any]) -> ml.CommandJobArgs:
        place = AzureJobContext(
            ids.job_prefix, f"{ids.id_of('workspace')}/computes", clusters, tags=ids.all_tags, **known
        )
        return _arguments(command_job(SCHEDULED_RUN, SCHEDULED_RUN, spec, stored, place))

    return pulumi.Output.all(**values).apply(declare)


def _arguments(job: dict[str, Any]) -> ml.CommandJobArgs:
    """Returns a job of Azure's API as the provider's arguments."""
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
        resources=ml.JobResourceConfigurationArgs(
            instance_count=job["resources"]["instanceCount"], shm_size=job["resources"]["shmSize"]
        ),
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
