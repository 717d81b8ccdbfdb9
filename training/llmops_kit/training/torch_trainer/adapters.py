"""Loads a base model for training: an adapter beside frozen weights, or all weights."""

from pathlib import Path
from typing import Any

from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.training.devices import Precision, torch_dtype
from llmops_kit.training.models.weights import load_model


def build_model(base: Path, options: TrainingRecipe, precision: Precision, device: Any) -> Any:
    """Loads a base model for training; a new adapter is initialised with the recipe's seed.

    Trained weights are f32 in either precision, because small steps would be lost in bf16. With bf16, products are
    computed in it, and frozen weights are stored in it, or in 4 bits.

    Args:
        base: the base model's version.
        options: the recipe's training section, of which `adapter`, `lora` and `seed` are read.
        precision: of products and frozen weights.
        device: the device of quantized weights; others are loaded on the processor.

    Returns:
        A model of transformers, or one of peft's around it.
    """
    from transformers import set_seed

    if options.adapter == "none":
        set_seed(options.seed)
        return load_model(base)
    quantized = _quantization(precision, device) if options.adapter == "qlora" else {}
    model = load_model(base, torch_dtype(precision), **quantized)
    _keep_differentiable(model)
    set_seed(options.seed)
    return with_adapter(model, options)


def with_adapter(model: Any, options: TrainingRecipe) -> Any:
    """Freezes a model's weights, and adds the recipe's adapter.

    With weights in bf16, the model must be called under autocast: adapters don't cast their inputs.
    """
    from peft import LoraConfig, get_peft_model

    from llmops_kit.training.torch_trainer.fused_updates import set_fused_updates

    lora = options.lora
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    set_input_casts(adapted, False)
    set_fused_updates(adapted, True)
    return adapted


def without_adapter(model: Any) -> Any:
    """Returns the model of transformers, bare or in one of peft's."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def set_input_casts(adapted: Any, on: bool) -> None:
    """Sets whether adapters cast their inputs to their weights' type. By default peft widens each input to f32, which
    autocast narrows again: two copies, of which one is kept for the backward pass.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers: list[Any] = [layer for layer in adapted.modules() if isinstance(layer, BaseTunerLayer)]
    for layer in layers:
        layer.cast_input_dtype_enabled = on


def empty_model(config: Any, dtype: Any) -> Any:
    """Returns a model whose weights have no memory (torch's device meta); its buffers, such as rotary frequencies, have
    their values.

    Args:
        config: transformers' configuration.
        dtype: torch dtype of the weights.
    """
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    model.tie_weights()  # accelerate unties them
    return model


def _keep_differentiable(model: Any) -> None:
    """Keeps bitsandbytes from repacking 4-bit weights for processors with AVX512-BF16 in the first pass without
    gradients: after that, its product has no backward pass (`matmul_4bit`, 0.50), and scales are rounded to bf16.
    """
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def _quantization(precision: Precision, device: Any) -> dict[str, Any]:
    """Returns loading options for weights as in Dettmers et al. 2023 (arXiv:2305.14314): 4-bit NormalFloat with double
    quantization.
    """
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch_dtype(precision),
    )
    return {"quantization_config": config, "device_map": {"": device}}
