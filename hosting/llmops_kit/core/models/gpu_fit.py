"""Calculates whether a version fits on GPUs under vLLM, and on how many, as vLLM 0.33 does: weights, cache, context.
The plan and the server share it.

- Memory that vLLM takes: total memory x gpu_memory_utilization (vllm/v1/worker/utils.py: request_memory).
- Memory for the cache: that, less the weights and the peak of activations, which vLLM measures when it starts
  (vllm/v1/worker/gpu_worker.py: determine_available_memory). Here the peak is not known: sizes are upper bounds.
- A token's cache: layers x key/value heads x 2 x head size x bytes of a number, in blocks of 16 tokens
  (vllm/v1/kv_cache_interface.py: AttentionSpec.unpadded_page_size_bytes, FullAttentionSpec.max_memory_usage_bytes).
- A context that is longer than the cache is cut to it, since the server starts it with `--max-model-len auto`
  (vllm/v1/core/kv_cache_planning.py: estimate_max_model_len). One of the blocks is never given out.
- On several GPUs (tensor parallel) each holds its share of the weights and of the heads; if there are fewer key/value
  heads than GPUs, they are copied (vllm/config/model.py: get_num_kv_heads). Heads and feed-forward layers must divide
  evenly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from llmops_kit.core.models.gpus import MEMORY_SHARE, GpuMemory

_BLOCK = 16
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_SHORTEST_CONTEXT = 2048
"""Tokens below which a context is too short for a chat; less counts as not fitting."""
_GIB = 1 << 30


@dataclass(frozen=True)
class GpuFit:
    """A version on GPUs of one kind; sizes in bytes, of each GPU, and tokens."""

    gpu: GpuMemory
    weights: int
    taken: int
    """GPU memory that vLLM takes."""
    token: int
    """Cache of one token."""
    context: int
    """The model's longest context, including prompt and answer."""
    gpus: int = 1
    """GPUs that compute together: vLLM's tensor parallel size."""

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
        which = f"the {self.gpu.name}" if self.gpus == 1 else f"each of {self.gpus} {self.gpu.name}"
        room = f"vLLM takes {taken} of {which}, weights {weights} of it"
        if not self.fits:
            return f"does not fit: {room}; use GPUs with more memory, or a smaller model"
        cut = "" if self.longest == self.context else f" (the model's {self.context} have no room)"
        return (
            f"fits: {room}; at most {self.tokens} tokens of cache at {self.token} bytes each, less activations, and "
            f"contexts of {self.longest} tokens{cut}"
        )


def gpu_fit(
    config: Mapping[str, Any], stored: int, gpu: GpuMemory, precision: str = "auto", gpus: int = 1
) -> GpuFit | None:
    """Calculates whether a version fits, on as few of a machine's GPUs as it fits on, or on the most that vLLM takes.

    Args:
        config: its config.json.
        stored: bytes of its safetensors.
        gpu: the machine's kind of GPU.
        precision: the endpoint's setting.
        gpus: the machine's number of GPUs.

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
    weights, taken = stored * computed // _BYTES[kept], ceil(gpu.memory * MEMORY_SHARE)
    fit = None
    for count in _sizes(config, heads, shared, gpus):
        token = token_cache(layers, max(1, shared // count), size, computed)
        fit = GpuFit(gpu, ceil(weights / count), taken, token, context, count)
        if fit.fits:
            break
    return fit


def token_cache(layers: int, heads: int, size: int, width: int = 2) -> int:
    """Returns the bytes of a token's keys and values.

    Args:
        layers: that keep them.
        heads: key/value heads of a layer.
        size: of a head.
        width: bytes of a number.
    """
    return layers * heads * 2 * size * width


def cache_of(config: Mapping[str, Any]) -> int:
    """Returns the bytes of a token's keys and values in bf16, if every layer keeps them; 0 if a model's config.json
    does not say it, or its layers keep something else.
    """
    layers, heads = _number(config, "num_hidden_layers"), _number(config, "num_attention_heads")
    size = _number(config, "head_dim") or (_number(config, "hidden_size") // heads if heads else 0)
    if config.get("kv_lora_rank") or config.get("text_config"):
        return 0
    return token_cache(layers, _number(config, "num_key_value_heads") or heads, size)


def _sizes(config: Mapping[str, Any], heads: int, shared: int, gpus: int) -> Iterator[int]:
    """Yields the tensor parallel sizes that vLLM takes for a model, in powers of two: the least first."""
    count = 1
    while count <= gpus:
        even = shared % count == 0 or count % shared == 0
        if heads % count == 0 and even and _number(config, "intermediate_size") % count == 0:
            yield count
        count *= 2


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
