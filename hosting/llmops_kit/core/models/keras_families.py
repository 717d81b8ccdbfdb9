"""Model families that Keras trains: those that KerasHub both reads and writes with equal logits."""

from collections.abc import Callable, Mapping
from typing import Any

from llmops_kit.core.errors import KitError

_Config = Mapping[str, Any]

FAMILIES = ("llama", "mistral", "qwen2")
"""`model_type` of config.json; tests/emulated/training/test_keras.py compares them with PyTorch. KerasHub writes a few
more families, some of them with other logits than it read.
"""


def check_family(config: _Config, where: str) -> None:
    """Rejects a model whose logits would change when KerasHub reads it or writes it for servers.

    Args:
        config: the base model's config.json.
        where: names it in the error.

    Raises:
        KitError: its family has no exporter, or it has parts that KerasHub's layers lack.
    """
    fix = "remove training.framework, so that PyTorch trains it, or use another base model"
    family = str(config.get("model_type", ""))
    if family not in FAMILIES:
        raise KitError(
            f"is a model of family {family!r:.60}, which KerasHub can't write back for servers; it can with "
            f"{', '.join(FAMILIES)}",
            where=where,
            fix=fix,
        )
    for has, what in _LACKING:
        if has(config, family):
            raise KitError(f"has {what}, which KerasHub's {family} layers lack", where=where, fix=fix)


def rope_scaling(config: _Config) -> Mapping[str, Any]:
    """Returns the scaling of a model's rotary positions; empty if it has none. transformers 5 writes
    `rope_parameters`, and 4 wrote `rope_scaling`.
    """
    for name in ("rope_parameters", "rope_scaling"):
        found = config.get(name) or {}
        if found.get("rope_type", found.get("type", "default")) != "default":
            return found
    return {}


def _has_other_scaling(config: _Config, family: str) -> bool:
    scaling = rope_scaling(config)
    return bool(scaling) and (family != "llama" or scaling.get("rope_type") != "llama3")


def _has_other_heads(config: _Config, family: str) -> bool:
    size = config.get("head_dim")
    return bool(size) and size * config["num_attention_heads"] != config["hidden_size"]


_LACKING: tuple[tuple[Callable[[_Config, str], bool], str], ...] = (
    (_has_other_heads, "heads of another size than hidden_size / num_attention_heads"),
    (_has_other_scaling, "scaled rotary positions of another kind"),
    (lambda config, _: bool(config.get("attention_bias") or config.get("mlp_bias")), "biases"),
    (lambda config, _: config.get("hidden_act", "silu") != "silu", "another activation than silu"),
    (lambda config, family: family == "mistral" and bool(config.get("tie_word_embeddings")), "tied embeddings"),
    (lambda config, _: bool(config.get("use_sliding_window")), "sliding windows"),
    (lambda config, _: bool(config.get("quantization_config")), "quantised weights"),
)
