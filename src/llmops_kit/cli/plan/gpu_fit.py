"""Whether a promoted version fits on an endpoint's GPUs, in words of a plan."""

import json

from llmops_kit.cli.importing.outlines import CONFIG
from llmops_kit.cli.interfaces.platform import Platform
from llmops_kit.cli.machines.machines import find_type
from llmops_kit.core.errors import KitError
from llmops_kit.core.models.gpu_fit import gpu_fit
from llmops_kit.core.names import ModelRef


def fit_words(platform: Platform | None, ref: ModelRef, instance_type: str, precision: str) -> str:
    """Returns whether a promoted version fits on a GPU machine under vLLM, in words; empty if the machine has no known
    GPU.

    Args:
        platform: the stack in operation; None: it is not deployed, so that its store can't be read.
        ref: the version.
        instance_type: the endpoint's instance type.
        precision: the endpoint's setting.
    """
    machine = find_type(instance_type)
    if machine is None or machine.gpu is None:
        return ""
    unknown = f"whether {ref.alias} fits on {instance_type} under vLLM is unknown"
    if platform is None:
        return f"{unknown}: the stack is not deployed"
    try:
        store = platform.store()
        manifest = store.signed_manifest(ref, platform.outputs.signing.public_key)
        if (entry := manifest.files.get(CONFIG)) is None:
            return f"{unknown}: it has no {CONFIG}"
        config = json.loads(store.version(ref).document(CONFIG, entry))
    except (KitError, ValueError) as e:
        return f"{unknown}: {e}"
    weights = sum(e.size for name, e in manifest.files.items() if "/" not in name and name.endswith(".safetensors"))
    fit = gpu_fit(config, weights, machine.gpu, precision, machine.gpus) if isinstance(config, dict) else None
    if fit is None:
        return f"{unknown}: the kit can't calculate the cache of this kind of model"
    others = f"; vLLM computes on {fit.gpus} of its {machine.gpus} GPUs" if machine.gpus > fit.gpus else ""
    return f"{ref.alias} {fit.words}{others}"
