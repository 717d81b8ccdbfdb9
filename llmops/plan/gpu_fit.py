"""Whether a version fits on a GPU under vLLM: weights, cache and context, by vLLM 0.33's own arithmetic.

- The memory that it takes: total memory x gpu_memory_utilization (vllm/v1/worker/utils.py: request_memory).
- What is left for the cache: that, less the weights and the peak of activations, which is measured at its start
  (vllm/v1/worker/gpu_worker.py: determine_available_memory). Here the peak is not known: all room is an upper bound.
- A token's cache: layers x key/value heads x 2 x head size x bytes of a number, in blocks of 16 tokens
  (vllm/v1/kv_cache_interface.py: AttentionSpec.unpadded_page_size_bytes, FullAttentionSpec.max_memory_usage_bytes).
- A context that is longer than the cache is cut to it, since the server starts it with `--max-model-len auto`
  (vllm/v1/core/kv_cache_planning.py: estimate_max_model_len). Of the blocks one is never given out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from contract.errors import KitError
from contract.gpus import MEMORY_SHARE
from contract.names import ModelRef
from llmops.plan.machines import Gpu, find_type
from llmops.platforms.platform import Platform
from llmops.store.outlines import CONFIG

_BLOCK = 16
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_SHORTEST_CONTEXT = 2048
"""Tokens below which a context is too short for a chat; less counts as not fitting."""
_GIB = 1 << 30


@dataclass(frozen=True)
class GpuFit:
    """A version on one GPU; sizes in bytes and tokens."""

    gpu: Gpu
    weights: int
    taken: int
    """GPU memory that vLLM takes."""
    token: int
    """Cache of one token."""
    context: int
    """The model's longest context, including prompt and answer."""

    @property
    def tokens(self) -> int:
        """Maximum number of tokens in the cache, over all requests."""
        blocks = (self.taken - self.weights) // (self.token * _BLOCK)
        return max(0, blocks - 1) * _BLOCK

    @property
    def longest(self) -> int:
        """Maximum number of tokens of one request."""
        return min(self.context, self.tokens)

    @property
    def fits(self) -> bool:
        """Whether weights and a useful context fit."""
        return self.longest >= min(self.context, _SHORTEST_CONTEXT)

    @property
    def words(self) -> str:
        """One line for a plan."""
        taken, weights = f"{self.taken / _GIB:.1f} GiB", f"{self.weights / _GIB:.1f} GiB"
        room = f"vLLM takes {taken} of the {self.gpu.name}, weights {weights} of it"
        if not self.fits:
            return f"does not fit: {room}; take a GPU with more memory, or a smaller model"
        cut = "" if self.longest == self.context else f" (the model's {self.context} have no room)"
        return (
            f"fits: {room}; at most {self.tokens} tokens of cache at {self.token} bytes each, less activations, and "
            f"contexts of {self.longest} tokens{cut}"
        )


def gpu_fit(config: Mapping[str, Any], stored: int, gpu: Gpu, precision: str = "auto") -> GpuFit | None:
    """Calculates whether a version fits.

    Args:
        config: its config.json.
        stored: bytes of its safetensors.
        gpu: the machine's GPU.
        precision: the endpoint's setting.

    Returns:
        None if the configuration is not one of a decoder whose layers all attend to every token.
    """
    kept = str(config.get("dtype") or config.get("torch_dtype") or "")
    layers, heads, context = (
        _number(config, name) for name in ("num_hidden_layers", "num_attention_heads", "max_position_embeddings")
    )
    size = _number(config, "head_dim") or (_number(config, "hidden_size") // heads if heads else 0)
    if not (layers and heads and context and size) or kept not in _BYTES or _is_special(config):
        return None
    # `auto` computes float32 in 16 bits: vllm/config/model.py, _resolve_auto_dtype.
    computed = 4 if precision == "f32" else 2
    shared = _number(config, "num_key_value_heads") or heads
    taken = ceil(gpu.memory * MEMORY_SHARE)
    token = layers * shared * 2 * size * computed
    return GpuFit(gpu, stored * computed // _BYTES[kept], taken, token, context)


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
    fit = gpu_fit(config, weights, machine.gpu, precision) if isinstance(config, dict) else None
    if fit is None:
        return f"{unknown}: its configuration is of a kind whose cache the kit does not reckon"
    others = f"; vLLM computes on one of its {machine.gpus} GPUs" if machine.gpus > 1 else ""
    return f"{ref.alias} {fit.words}{others}"


def _number(config: Mapping[str, Any], name: str) -> int:
    """Returns a positive number of the configuration; 0 if there is none."""
    value = config.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def _is_special(config: Mapping[str, Any]) -> bool:
    """Returns whether layers keep anything other than every token's keys and values: windows, latents, states, other
    models.
    """
    windows = config.get("sliding_window") and config.get("use_sliding_window", True)
    kinds = set(config.get("layer_types") or ["full_attention"])
    return bool(windows or config.get("kv_lora_rank") or config.get("text_config")) or kinds != {"full_attention"}
