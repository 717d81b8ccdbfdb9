"""Rejects settings that Azure ML can't honour, before anything is declared."""

import re
from collections.abc import Iterator
from typing import Literal

from llmops_kit.clouds.azure.settings import Cluster
from llmops_kit.contract.documents.run import Compute
from llmops_kit.contract.limits import PLATFORM_SECONDS
from llmops_kit.infra.engines import ImageField, Machine, missing_image, require_engine, serving_field
from llmops_kit.infra.server_limits import refused_limits
from llmops_kit.infra.settings import Endpoint as Entry
from llmops_kit.infra.settings import Settings, refuse_set, setting_error

DEFAULT_BAKE_SECONDS = 300
"""Azure Monitor's metrics are per minute, and late: the 30 s of target local would see none."""
_VM_SIZE = re.compile(r"^Standard_[A-Za-z0-9_-]+$")
# The N family: https://learn.microsoft.com/azure/virtual-machines/sizes/overview
_ACCELERATED = re.compile(r"^Standard_N[A-Z]", re.IGNORECASE)
_OF_SAGEMAKER = ("max_wait_hours", "volume_gb", "warm_pool_minutes")
_PROCESS = "process:"
_ELSEWHERE = {"local_home": "local", "local_runtime": "local", "aws": "aws"}
Refusal = tuple[tuple[str, ...], str, str]  # path below the endpoint's key, problem, fix


def require_ours(settings: Settings) -> None:
    """Reject settings that this target can't honour, before any request to Azure.

    Raises:
        SettingError: naming the key.
    """
    for field, target in _ELSEWHERE.items():
        refuse_set((), settings, (field,), "has no effect on Azure", f"remove it, or set `target: {target}`")
    require_machines(settings)
    for name in settings.endpoints:
        require_supported(settings, name)


def require_supported(settings: Settings, name: str) -> None:
    """Reject settings of an endpoint that Azure ML can't honour.

    Raises:
        SettingError: naming the key.
    """
    for path, what, fix in _refusals(settings.endpoints[name]):
        raise setting_error(("endpoints", name, *path), what, fix)


def require_image(name: Literal["training"] | ImageField, reference: str, twin: bool) -> None:
    """Check that the stack has an image that can run here.

    Raises:
        SettingError: there is none, or it is a process image in a real subscription.
    """
    key = ("images", name)
    if not reference:
        raise setting_error(key, "is missing", missing_image(name))
    if reference.startswith(_PROCESS) and not twin:
        raise setting_error(
            key,
            f"{reference} runs on a twin only",
            "`llmops images push` pushes the kit's image to the stack's registry, and writes its digest here",
        )


def serving_field_of(settings: Settings, name: str) -> ImageField:
    """The field of `images` that names an endpoint's image."""
    return serving_field(settings, name, _machine(settings, name).gpus, _is_the_kits(settings.images.serving))


def require_engine_of(settings: Settings, name: str) -> None:
    """Check that an endpoint's image uses the GPU of its machine, if it has one.

    Raises:
        SettingError: naming `engine`, or the endpoint's VM size, or the stack's.
    """
    require_engine(settings, name, _machine(settings, name), _is_the_kits(settings.images.serving))


def _machine(settings: Settings, name: str) -> Machine:
    own = settings.endpoints[name].size.instance_type
    size = own or settings.azure.instance_type
    key = ("endpoints", name, "size", "instance_type") if own else ("azure", "instance_type")
    gpus = bool(_ACCELERATED.match(size))
    return Machine(size, key, gpus, gpus, "Standard_F8s_v2", "Standard_NC24ads_A100_v4")


def require_machines(settings: Settings) -> None:
    """Check that runs use a cluster of the stack.

    Raises:
        SettingError: naming the key.
    """
    given = settings.azure
    what = "has no effect on Azure ML, where a run uses the machines of a cluster"
    refuse_set(("azure", "jobs"), given.jobs, _OF_SAGEMAKER, what, "remove it, and set it in llmops:azure.computes")
    if "jobs" in given.model_fields_set or given.schedules:
        _require_cluster(("azure", "jobs"), given.jobs, given.computes)
    for name, schedule in given.schedules.items():
        kind = schedule.instance_type or given.jobs.instance_type
        jobs = given.jobs.model_copy(update={"instance_type": kind})
        _require_cluster(("azure", "schedules", name), jobs, given.computes)


def bake_seconds(entry: Entry) -> int:
    """Returns the seconds for which a new version is watched."""
    rollout = entry.rollout
    return rollout.bake_seconds if "bake_seconds" in rollout.model_fields_set else DEFAULT_BAKE_SECONDS


def _refusals(entry: Entry) -> Iterator[Refusal]:
    size, fields = entry.size, type(entry).model_fields
    if entry.port:
        yield ("port",), "Azure ML chooses the port of an endpoint", "remove it"
    if entry.mode == "async":
        what = "Azure ML has no asynchronous endpoints: its batch endpoints run jobs"
        yield ("mode",), what, "remove it, and use a real-time endpoint or a run"
    if entry.mode == "serverless":
        yield ("mode",), "Azure ML's serverless endpoints serve only models of its catalogue", "leave it out"
    if size.instances == 0:
        what = "a managed online endpoint can't scale to zero: it has at least one instance"
        yield ("size", "instances"), what, "write 1; or `endpoint: off` while it is not needed"
    if size.instance_type and not _VM_SIZE.match(size.instance_type):
        what = f"{size.instance_type} is not a VM size of Azure"
        yield ("size", "instance_type"), what, "write one such as Standard_F8s_v2"
    if entry.rollout.strategy == "rolling":
        what = "Azure ML replaces a deployment as a whole, not instance by instance"
        yield ("rollout", "strategy"), what, "write linear, which moves the requests in steps"
    if entry.volume_gb:
        yield ("volume_gb",), "the disk of a managed instance can't be chosen", "remove it, or take a larger VM size"
    if entry.download_seconds != fields["download_seconds"].default:
        yield ("download_seconds",), "Azure ML has no limit for a model's download", "remove it"
    yield from refused_limits(entry.limits, "Azure ML", PLATFORM_SECONDS["azureml"], PLATFORM_SECONDS["azureml"])
    if entry.inference_ami_version:
        yield ("inference_ami_version",), "applies to SageMaker's hosts only", "remove it"


def _require_cluster(path: tuple[str, ...], wanted: Compute, clusters: dict[str, Cluster]) -> None:
    kinds = [c for c in clusters.values() if (c.vm_size, c.spot) == (wanted.instance_type, wanted.spot)]
    told = f"{wanted.instance_type}{', spot' if wanted.spot else ''}"
    if not kinds:
        there = "; ".join(f"{name}: {c.vm_size}{', spot' if c.spot else ''}" for name, c in clusters.items())
        raise setting_error(
            path, f"no cluster has machines of {told} (there are {there})", "add one to llmops:azure.computes"
        )
    if wanted.instances > max(c.max_nodes for c in kinds):
        raise setting_error(
            path,
            f"{wanted.instances} machines of {told} are more than any cluster has",
            "raise max_nodes in llmops:azure.computes, or ask for fewer",
        )


def _is_the_kits(image: str) -> bool:
    """Returns whether `images.serving` is what `llmops images` builds and pushes, for processors alone, or not set."""
    if not image:
        return True
    host, _, name = image.partition("@")[0].partition("/")
    return name == "serving" if name else host == f"{_PROCESS}serving"
