"""Reads from a preview's resources which limits and prefix cache settings of endpoints' servers it changes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmops_kit.cli.interfaces.changes import known
from llmops_kit.core.engines.engine_settings import (
    ALWAYS_TOLD,
    EngineSettings,
    engine_variable,
    engine_variables,
)
from llmops_kit.core.limits import AdmissionLimits, limit_variable
from llmops_kit.core.models.server_memory import MIB, server_memory
from llmops_kit.policies.model import Resource, plain_type

_FIELDS = {limit_variable(name): f"limits.{name}" for name in AdmissionLimits.model_fields}
_OF_ENGINE = [name for name in EngineSettings.model_fields if name not in ALWAYS_TOLD]
_FIELDS |= {engine_variable(name): name for name in _OF_ENGINE}
_MEMORY = "memory_mb"
_SHOWN = (*_FIELDS.values(), f"limits.{_MEMORY}")
# Resource type -> prefix of its name before the endpoint's, and the path to the variables.
_PLACES = {
    "llmops:Endpoint": ("endpoint-", ("limits",)),
    "aws:sagemaker/model:Model": ("model-", ("primaryContainer", "environment")),
    "azure-native:machinelearningservices:OnlineDeployment": (
        "deployment-",
        ("properties", "environmentVariables"),
    ),
}


def limit_changes(preview: Mapping[str, Any], endpoints: list[str]) -> dict[str, list[str]]:
    """Returns endpoint -> its changed settings in words, such as `limits.max_queue 64 -> 128`, without new endpoints.

    Args:
        preview: the output of `pulumi preview --json`.
        endpoints: names of all endpoints.
    """
    before: dict[str, dict[str, str]] = {}
    after: dict[str, dict[str, str]] = {}
    for step in preview.get("steps", []):
        kind, name = plain_type(step["urn"].split("::")[2]), step["urn"].rpartition("::")[2]
        prefix, path = _PLACES.get(kind, ("", ()))
        endpoint = max((e for e in endpoints if _is_of(name, prefix, e)), key=len, default="") if prefix else ""
        if not endpoint:
            continue
        for state, found in (("oldState", before), ("newState", after)):
            inputs = (step.get(state) or {}).get("inputs")
            if inputs and not (state == "newState" and step["op"] in ("delete", "delete-replaced")):
                found[endpoint] = _limits(inputs, path)
    changed = {name: _words(before[name], after[name]) for name in endpoints if name in before and name in after}
    return {name: words for name, words in changed.items() if words}


def memory_limits(resources: Iterable[Resource]) -> dict[str, str]:
    """Returns endpoint of this machine -> the memory of each of its servers above which it is replaced, in words.

    Args:
        resources: of a preview.
    """
    found = {}
    for each in (each for each in resources if plain_type(each.type) == "llmops:Endpoint"):
        folder, image = known(each.properties.get("folder"), ""), str(known(each.properties.get("image"), ""))
        if not folder or not image.startswith("process:"):
            continue
        limits = {name: str(value) for name, value in known(each.properties.get("limits"), {}).items()}
        memory = server_memory(Path(folder), limits, image)
        given = known(each.properties.get(_MEMORY))
        limit, why = (int(given), "limits.memory_mb") if given else (memory.default // MIB, "by model and machine")
        name = str(each.properties["endpoint"])
        found[name] = f"a server is replaced above {limit} MiB of memory ({why}); it needs {memory.needed // MIB} MiB"
    return found


def _is_of(logical: str, prefix: str, endpoint: str) -> bool:
    """Returns whether a resource is an endpoint's: on Azure, the version and a hash follow in a deployment's name."""
    return logical == prefix + endpoint or (prefix == "deployment-" and logical.startswith(f"{prefix}{endpoint}-"))


def _limits(inputs: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, str]:
    found: Any = inputs
    for key in path:
        found = known(found.get(key), {})
    stated = {field: str(found[variable]) for variable, field in _FIELDS.items() if variable in found}
    if memory := known(inputs.get(_MEMORY)):
        stated[f"limits.{_MEMORY}"] = f"{memory:.0f}"
    # On target local, the engine's limits are separate inputs.
    own = {name: inputs[name] for name in _OF_ENGINE if name in inputs}
    return stated | {_FIELDS[v]: t for v, t in engine_variables(EngineSettings(**own)).items() if v in _FIELDS}


def _words(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [
        f"{field} {before.get(field, 'default')} -> {after.get(field, 'default')}"
        for field in _SHOWN
        if before.get(field) != after.get(field)
    ]
