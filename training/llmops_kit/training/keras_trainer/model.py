"""Models in KerasHub's form: read from a version's folder, given low-rank updates, and written for transformers."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import keras  # pyright: ignore[reportMissingImports]
import keras_hub  # pyright: ignore[reportMissingImports]
import numpy as np
from keras import layers, ops  # pyright: ignore[reportMissingImports]
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from llmops_kit.core.documents.recipe_training import Lora
from llmops_kit.core.models.keras_families import check_family, rope_scaling
from llmops_kit.training.devices import Precision
from llmops_kit.training.models.weights import WEIGHTS

_TASKS = {
    "llama": keras_hub.models.Llama3CausalLM,
    "mistral": keras_hub.models.MistralCausalLM,
    "qwen2": keras_hub.models.QwenCausalLM,
}
_POLICIES = {"f32": "float32", "bf16": "mixed_bfloat16"}
_CONFIG = "config.json"
_BESIDE = (
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab*",
    "merges.txt",
)


def load_causal_lm(folder: Path, precision: Precision) -> Any:
    """Returns a version's model as keras_hub's CausalLM, without a preprocessor; weights are kept in f32.

    KerasHub rounds Mistral's weights to f16 in between, which loses nothing: those of versions are bf16, with fewer
    digits.

    Args:
        folder: the version's, with config.json and safetensors.
        precision: of its computations.

    Raises:
        KitError: KerasHub lacks an exporter or a part of this model (`check_family`).
    """
    path = folder / _CONFIG
    config = json.loads(path.read_text())
    check_family(config, str(path))
    backbone = keras_hub.models.Backbone.from_preset(str(folder), dtype=_POLICIES[precision], **_forgotten(config))
    return _TASKS[config["model_type"]](backbone=backbone, preprocessor=None)


def _forgotten(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the values that KerasHub's converters don't read from a config: Llama's epsilon, and its RoPE scaling in
    the form of transformers 5.
    """
    if config["model_type"] != "llama":
        return {}
    found = {"layer_norm_epsilon": config["rms_norm_eps"]}
    if scaling := rope_scaling(config):
        found |= {
            "rope_frequency_adjustment_factor": scaling["factor"],
            "rope_low_freq_factor": scaling["low_freq_factor"],
            "rope_high_freq_factor": scaling["high_freq_factor"],
            "rope_pretraining_sequence_length": scaling["original_max_position_embeddings"],
        }
    return found


class LowRankDense(layers.Layer):
    """A frozen linear layer with a low-rank update beside it, as in peft: x W + (alpha / r) x A B.

    KerasHub's own `enable_lora` has an A for each attention head, unlike peft's update of the same rank, and computes
    the gradient of the whole W.
    """

    def __init__(self, inner: Any, options: Lora, generator: np.random.Generator) -> None:
        """Wraps a built layer.

        Args:
            inner: a Dense or EinsumDense whose kernel has the dimensions that it sums over first.
            options: rank and alpha.
            generator: draws A as torch draws a linear layer's weights: uniform within 1 / sqrt(inputs). B is zero.
        """
        super().__init__(dtype=inner.dtype_policy, name=f"{inner.name}_low_rank")
        inner.trainable = False
        self.inner = inner
        self._summed = _summed_dimensions(inner)
        self._scale = options.alpha / options.r
        shape = tuple(inner.kernel.shape)
        self._inputs, self._outputs = (int(np.prod(part)) for part in (shape[: self._summed], shape[self._summed :]))
        bound = 1 / np.sqrt(self._inputs)
        first = generator.uniform(-bound, bound, (self._inputs, options.r))
        self.a = self.add_weight(shape=first.shape, dtype="float32", initializer="zeros", name="a")
        self.b = self.add_weight(shape=(options.r, self._outputs), dtype="float32", initializer="zeros", name="b")
        self.a.assign(first)
        self.built = True

    def call(self, inputs: Any) -> Any:
        result = self.inner(inputs)
        flat = ops.reshape(inputs, (*ops.shape(inputs)[: -self._summed], self._inputs))
        update = ops.matmul(ops.matmul(flat, self.a), self.b) * self._scale
        return result + ops.reshape(update, ops.shape(result))

    def merge(self) -> None:
        """Adds the update to the inner layer's weights, and resets it to zero."""
        kernel = self.inner.kernel
        update = np.matmul(ops.convert_to_numpy(self.a), ops.convert_to_numpy(self.b)) * self._scale
        kernel.assign(ops.convert_to_numpy(kernel) + update.reshape(kernel.shape))
        self.b.assign(np.zeros(self.b.shape))


def add_low_rank(model: Any, options: Lora, seed: int) -> list[LowRankDense]:
    """Freezes a model, and adds an update to each linear layer except the head, as peft's `all-linear` does."""
    model.backbone.trainable = False
    generator = np.random.default_rng(seed)
    added = []
    for parent, name in _linear_layers(model):
        added.append(LowRankDense(getattr(parent, name), options, generator))
        _replace(parent, name, added[-1])
    return added


def write_folder(model: Any, low_rank: list[LowRankDense], base: Path, target: Path) -> None:
    """Writes a plain Hugging Face folder: the model's weights, f32, by KerasHub's exporter, and all else from the base
    model, because KerasHub's config lacks fields, its tokenizer splits some texts differently, and it copies tied
    embeddings to lm_head.

    Args:
        model: as `load_causal_lm` returned it; updates are merged.
        low_rank: its updates.
        base: the base model's version.
        target: an existing folder.
    """
    for layer in low_rank:
        layer.merge()
        parent, name = next((p, n) for p, n in _linear_layers(model) if getattr(p, n) is layer)
        _replace(parent, name, layer.inner)
    model.export_to_transformers(str(target))
    path = target / "model.safetensors"
    weights = load_file(path)
    save_file({name: weights[name] for name in _tensor_names(base)}, path, metadata={"format": "pt"})
    config = json.loads((base / _CONFIG).read_text())
    config["dtype"] = "float32"
    (target / _CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for pattern in _BESIDE:
        for found in sorted(base.glob(pattern)):
            shutil.copyfile(found, target / found.name)


def _tensor_names(base: Path) -> list[str]:
    names: list[str] = []
    for path in base.glob(WEIGHTS):
        with safe_open(path, framework="np") as file:
            names += file.keys()
    return sorted(names)


def _summed_dimensions(layer: Any) -> int:
    """Returns how many of a kernel's dimensions a linear layer sums over: its first ones."""
    if not isinstance(layer, layers.EinsumDense):
        return 1
    _, kernel, result = layer.equation.replace("->", ",").split(",")
    count = sum(letter not in result for letter in kernel)
    if not result.endswith(kernel[count:]) or any(letter in result for letter in kernel[:count]):
        raise NotImplementedError(f"an update beside {layer.equation}")
    return count


def _linear_layers(model: Any) -> Iterator[tuple[Any, str]]:
    """Yields each linear layer by the layer that has it, and the attribute's name there; in the order of the model."""
    for parent in cast(Any, model.backbone)._flatten_layers():
        if isinstance(parent, LowRankDense):
            continue
        for name, child in sorted(vars(parent).items()):
            if isinstance(child, (layers.Dense, layers.EinsumDense, LowRankDense)):
                yield parent, name


def _replace(parent: Any, name: str, layer: keras.layers.Layer) -> None:
    """Sets a layer's sublayer; Keras's own `enable_lora` unlocks built layers in the same way."""
    parent._tracker.unlock()
    setattr(parent, name, layer)
    parent._tracker.lock()
