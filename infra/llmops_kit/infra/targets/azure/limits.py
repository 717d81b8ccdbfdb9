"""Rejects settings that Azure ML can't honour, before anything is declared."""

import re
from collections.abc import Iterator

from llmops_kit.clouds.azure.settings import Cluster
from llmops_kit.clouds.azure.traits import has_amd_gpus
from llmops_kit.core.documents.run import Compute
from llmops_kit.core.limits import PLATFORM_SECONDS
from llmops_kit.infra.server_limits import refused_limits
from llmops_kit.infra.settings import refuse_set, setting_error
from llmops_kit.settings.resolved import ResolvedEndpoint, ResolvedStack

_VM_SIZE = re.compile(r"^Standard_[A-Za-z0-9_-]+$")
_AMD = "has GPUs of AMD: the kit's images compute on processors, or on NVIDIA's GPUs with CUDA"
_NVIDIA = "write a size with NVIDIA's GPUs, such as Standard_NC24ads_A100_v4"
_OF_SAGEMAKER = ("max_wait_hours", "volume_gb", "warm_pool_minutes")
_ELSEWHERE = {"local_home": "local", "local_runtime": "local", "aws": "aws"}
Refusal = tuple[tuple[str, ...], str, str]  # path below the endpoint's key, problem, fix


def require_ours(stack: ResolvedStack) -> None:
    """Reject settings that this target can't honour, before any request to Azure.

    Raises:
        SettingError: naming the key.
    """
    settings = stack.settings
    for field, target in _ELSEWHERE.items():
        refuse_set((), settings, (field,), "has no effect on Azure", f"remove it, or set `target: {target}`")
    require_machines(stack)
    for endpoint in stack.endpoints.values():
        require_supported(endpoint)


def require_supported(endpoint: ResolvedEndpoint) -> None:
    """Reject settings of an endpoint that Azure ML can't honour.

    Raises:
        SettingError: naming the key.
    """
    for path, what, fix in _refusals(endpoint):
        raise setting_error(("endpoints", endpoint.name, *path), what, fix)


def require_machines(stack: ResolvedStack) -> None:
    """Check that runs use a cluster of the stack, and that no cluster has GPUs of AMD.

    Raises:
        SettingError: naming the key.
    """
    given = stack.settings.azure
    what = "has no effect on Azure ML, where a run uses the machines of a cluster"
    refuse_set(("azure", "jobs"), given.jobs, _OF_SAGEMAKER, what, "remove it, and set it in llmops:azure.computes")
    for name, cluster in given.computes.items():
        if has_amd_gpus(cluster.vm_size):
            raise setting_error(("azure", "computes", name, "vm_size"), f"{cluster.vm_size} {_AMD}", _NVIDIA)
    if "jobs" in given.model_fields_set or given.schedules:
        _require_cluster(("azure", "jobs"), given.jobs, given.computes)
    for name, schedule in stack.schedules.items():
        _require_cluster(("azure", "schedules", name), schedule.compute, given.computes)


def _refusals(endpoint: ResolvedEndpoint) -> Iterator[Refusal]:
    entry, kind = endpoint.entry, endpoint.machine.kind
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
    if not _VM_SIZE.match(kind):
        what = f"{kind} is not a VM size of Azure"
        yield ("size", "instance_type"), what, "write one such as Standard_F8s_v2"
    if has_amd_gpus(kind) and endpoint.is_kits_image:
        yield ("size", "instance_type"), f"{kind} {_AMD}", f"{_NVIDIA}; or name an image of your own in `images`"
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
