"""All look-ups of target local, and its checks of settings, before anything is declared."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Literal

import pulumi

from llmops_kit.clouds.targets import cloud_names
from llmops_kit.core.engines.records import ENGINES
from llmops_kit.core.layout import model_key
from llmops_kit.core.limits import limit_variables
from llmops_kit.core.models.server_memory import MIB, machine_memory, server_memory
from llmops_kit.infra import resource_names
from llmops_kit.infra.promoted_versions import require_servable
from llmops_kit.infra.settings import project_folder, refuse_set, setting_error
from llmops_kit.infra.targets.local.keys import key_files
from llmops_kit.infra.targets.local.providers.store import read_store
from llmops_kit.infra.targets.local.values import LocalEndpointValues, LocalImage
from llmops_kit.local_runtime import process_images
from llmops_kit.local_runtime.spec import ROUTER_BODY_BYTES, VariantRollout
from llmops_kit.settings.resolved_local import (
    TRAINING_IMAGE,
    ResolvedLocalEndpoint,
    ResolvedLocalStack,
    resolve_local_stack,
)
from llmops_kit.settings.stack_settings import Endpoint as Entry
from llmops_kit.settings.stack_settings import Rollout, Settings


@dataclass(frozen=True)
class LocalResolved:
    """A stack on this machine: its resolved settings, checked, and everything that was looked up."""

    stack: ResolvedLocalStack
    name: str
    """Of the stack."""
    project: Path
    """The folder of Pulumi.yaml."""
    home: resource_names.StackHome
    training_image: LocalImage
    endpoints: Mapping[str, LocalEndpointValues]


def resolve(settings: Settings, below: str = "") -> LocalResolved:
    """Check the settings and look everything up.

    Args:
        settings: of the stack.
        below: folder in the stack's home, for a component of a user's program; empty: the home itself.

    Raises:
        SettingError: naming the key.
    """
    stack = resolve_local_stack(settings, os.environ)
    _require_ours(stack)
    project, name = project_folder(), pulumi.get_stack()
    home = resource_names.stack_home(project, settings.local_home, str(Path(name, below)))
    for endpoint in stack.endpoints.values():
        if endpoint.entry.endpoint:
            require_servable(endpoint.name, endpoint.entry, partial(read_store, home.store))
    endpoints = {
        each.name: _values(each, settings.local_runtime, project, home.store) for each in stack.endpoints.values()
    }
    return LocalResolved(stack, name, project, home, _image(TRAINING_IMAGE, "process"), endpoints)


def _values(
    endpoint: ResolvedLocalEndpoint, runtime: Literal["process", "docker"], project: Path, store: Path
) -> LocalEndpointValues:
    entry = endpoint.entry
    files = key_files(project, endpoint.name, entry.limits)
    _require_memory(endpoint, runtime, store)
    return LocalEndpointValues(endpoint, _rollout(entry.rollout), _image(endpoint.image, runtime), files)


def _image(name: str, runtime: Literal["process", "docker"]) -> LocalImage:
    return LocalImage(name, runtime, process_images.reference(name))


def _rollout(rollout: Rollout) -> VariantRollout:
    """Returns the settings that the local runtime has, by its own rules; `_require_rollout` has refused all others."""
    shared = type(rollout).model_fields.keys() & VariantRollout.model_fields
    read = shared if rollout.strategy == "canary" else {"strategy"}
    return VariantRollout.model_validate(rollout.model_dump(include=read))


def _require_ours(stack: ResolvedLocalStack) -> None:
    """Refuse what only a cloud can honour.

    Raises:
        SettingError: naming the key.
    """
    settings, cloud = stack.settings, "has no effect on this machine"
    others = " or ".join(f"`target: {name}`" for name in cloud_names())
    refuse_set((), settings, _CLOUD_STACK, cloud, f"remove it, or set {others}")
    for field in cloud_names():
        refuse_set((), settings, (field,), cloud, f"remove it, or set `target: {field}`")
    for name, entry in settings.endpoints.items():
        path = ("endpoints", name)
        refuse_set(path, entry, _CLOUD_ONLY, cloud, "remove it, or set `target: aws`")
        refuse_set((*path, "size"), entry.size, _CLOUD_SIZE, cloud, "remove it, or set `target: aws`")
        _require_rollout(path, entry)
        _require_limits(path, entry)
        _require_gpu(path, entry, stack)
        if entry.size.instances == 0:
            raise setting_error((*path, "size", "instances"), "0 workers serve nothing", "write `endpoint: off`, or 1")


_CLOUD_STACK = ("accepted_rules", "expires", "images", "production")
_CLOUD_ONLY = ("mode", "volume_gb", "start_seconds", "download_seconds", "inference_ami_version")
_CLOUD_SIZE = ("concurrent_requests", "max_instances", "instance_type")


def _require_rollout(path: tuple[str, str], entry: Entry) -> None:
    rollout = entry.rollout
    if rollout.strategy not in ("all_at_once", "canary"):
        raise setting_error(
            (*path, "rollout", "strategy"),
            f"{rollout.strategy} is a cloud's: this machine has all_at_once and canary",
            "write `strategy: canary`",
        )
    elsewhere = [field for field in type(rollout).model_fields if field not in VariantRollout.model_fields]
    refuse_set((*path, "rollout"), rollout, elsewhere, "this machine's rollouts don't have it", "remove it")
    if "bake_seconds" in rollout.model_fields_set and rollout.strategy != "canary":
        raise setting_error(
            (*path, "rollout"), "bake_seconds have no effect without `strategy: canary`", "add it, or remove them"
        )


def _require_limits(path: tuple[str, str], entry: Entry) -> None:
    if entry.limits.max_body > ROUTER_BODY_BYTES:
        what = f"this machine's router takes bodies of {ROUTER_BODY_BYTES} bytes at most"
        raise setting_error((*path, "limits", "max_body"), what, f"write {ROUTER_BODY_BYTES} or less")


def _require_memory(endpoint: ResolvedLocalEndpoint, runtime: str, store: Path) -> None:
    given, key = endpoint.entry.limits.memory_mb, ("endpoints", endpoint.name, "limits", "memory_mb")
    if not given:
        return
    if runtime == "docker":
        raise setting_error(key, "Docker limits the memory of containers by itself", "remove it")
    version, variables = endpoint.entry.version, limit_variables(endpoint.entry.limits)
    found = server_memory(store / model_key(version.sha256), variables, endpoint.image)
    needed, default, machine = (ceil(count / MIB) for count in (found.needed, found.default, machine_memory()))
    fix = f"write {needed} or more; without it, the limit is {default}"
    if given < needed:
        raise setting_error(key, f"{version.alias} needs {needed} MiB for its weights and programs", fix)
    if given > machine:
        raise setting_error(key, f"this machine has {machine} MiB of memory, so the limit would never apply", fix)


def _require_gpu(path: tuple[str, str], entry: Entry, stack: ResolvedLocalStack) -> None:
    if stack.gpus or entry.engine == "auto" or not ENGINES[entry.engine].gpus_only:
        return
    if stack.settings.local_runtime == "docker":
        what, fix = "containers of this machine get no GPUs", "set `local_runtime: process`"
    else:
        what, fix = "this machine has no NVIDIA GPU", "remove it: OpenVINO serves on processors"
    raise setting_error((*path, "engine"), f"vLLM's image computes on NVIDIA GPUs: {what}", fix)
