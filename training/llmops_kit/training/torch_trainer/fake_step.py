"""Traces a training step without memory or arithmetic: the memory that it would allocate, and its operations.

The model is built from its configuration alone. Its tensors are torch's fakes, which have a shape and no content, so
that a step of 8 billion weights takes about a second on any machine. Imports torch and transformers: import it where it
is used.
"""

import copy
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.training.devices import Precision, torch_dtype
from llmops_kit.training.torch_trainer.adapters import empty_model, with_adapter, without_adapter
from llmops_kit.training.torch_trainer.attention import uses_torch_attention
from llmops_kit.training.torch_trainer.objectives import Objective, PreferenceLoss, TokenLoss, adapter_off, frozen
from llmops_kit.training.torch_trainer.scaled_trainer import CHECKPOINTING
from llmops_kit.training.torch_trainer.sharding import blocks

_DEVICE = torch.device("cpu")  # of the fakes: CUDA's need a GPU, and allocate the same
_UNPACKED = "unpacked_sdpa"
_NF4_BLOCK, _NF4_SCALES = 64, 256  # weights of a scale, and scales of a second scale: bitsandbytes' sizes
_DEPTHS = (4, 5)
"""Numbers of layers that are traced instead of all, if all are equal: two at each end, whose steps differ, and 0 or 1
between them. Every peak is near an end, as memory changes evenly in between, so it grows linearly with the depth."""


class Shape(NamedTuple):
    """The shape of a micro-batch."""

    rows: int
    tokens: int
    """Tokens of each row."""
    targets: int
    """Tokens of all rows that bear loss."""
    masked: bool = False
    """Whether a mask parts the sequences of a row, as on GPUs."""


class Moment(NamedTuple):
    """Bytes in use at some point of a step."""

    total: int
    gradients: int

    def at_depth(self, other: "Moment", layers: int) -> "Moment":
        """Returns the moment of a model with so many layers, extrapolated from those of models of `_DEPTHS` layers."""
        (low, high), pairs = _DEPTHS, zip(self, other, strict=True)
        return Moment(*(a + (b - a) * (layers - low) // (high - low) for a, b in pairs))


class StepTrace(NamedTuple):
    """Memory and operations of a step."""

    start: Moment
    """The peak until the first two layers' backward passes are done: forward pass and loss."""
    end: Moment
    """The peak of the last two backward passes, and of the embeddings'."""
    update: Moment
    """The peak of the optimizer's step."""
    flops: int
    """Floating-point operations of forward and backward pass; a product and its sum are two."""


class _LiveBytes(TorchDispatchMode):
    """Counts operations, and the bytes of tensors' storages from their creation to their end.

    Torch's own counters, MemTracker and FlopCounterMode, follow modules with hooks: the former fails on frozen weights,
    the latter retains recomputed activations.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[int, int] = {}
        self.live = 0
        self.gradients = 0
        self.flops = 0
        self.peak = Moment(0, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if count_flops := _FLOPS.get(func._overloadpacket):
            self.flops += count_flops(*args, **(kwargs or {}), out_val=made)
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self.count(leaf)
        return made

    def count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.live += storage.nbytes()
        weakref.finalize(storage, self._forget, key)
        if self.live > self.peak.total:
            self.peak = Moment(self.live, self.gradients)

    def take_peak(self) -> Moment:
        """Returns the largest moment since the last call."""
        peak, self.peak = self.peak, Moment(self.live, self.gradients)
        return peak

    def _forget(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


class _FourBit(torch.autograd.Function):
    """Models the memory of bitsandbytes' product with 4-bit weights, which dequantizes them in each pass."""

    @staticmethod
    def forward(ctx: Any, given: Any, packed: Any, shape: torch.Size) -> Any:
        ctx.shape, ctx.packed = shape, packed
        return nn.functional.linear(given, torch.empty(shape, dtype=given.dtype, device=_DEVICE))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        return gradient @ torch.empty(ctx.shape, dtype=gradient.dtype, device=_DEVICE), None, None


class _FourBitLinear(nn.Linear):
    """Stands in for bitsandbytes' layer, which can only pack weights with content; `weight` stays without memory."""

    packed: Any

    def forward(self, given: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  # a builtin's name
        given = given.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else given
        return _FourBit.apply(given, self.packed, self.weight.shape).clone()  # pyright: ignore  # peft copies each result


def layers_alike(model: Any) -> bool:
    """Returns whether a model has more layers than are traced, and all of them have the same weights."""
    shapes = [[(name, weight.shape) for name, weight in block.named_parameters()] for block in blocks(model)]
    return len(shapes) > max(_DEPTHS) and all(shape == shapes[0] for shape in shapes)


def weight_bytes(model: Any, four_bit: bool) -> int:
    """Returns the bytes of a model's or a block's weights, as `build_model` loads them; tied ones count once."""
    there = sum(weight.nbytes for weight in model.parameters())
    saved = [layer.weight.nbytes - _packed_bytes(layer.weight.numel()) for layer in _packed_layers(model)]
    return there - sum(saved) * four_bit


def _packed_bytes(weights: int) -> int:
    """Returns the bytes of so many weights in 4 bits, with their double-quantized scales."""
    return weights // 2 + weights // _NF4_BLOCK + 4 * weights // (_NF4_BLOCK * _NF4_SCALES)


def outline(config: Any, options: TrainingRecipe, precision: Precision, layers: int = 0) -> Any:
    """Returns a model with the recipe's adapter, without memory (torch's device meta), as `build_model` would load it.

    Args:
        config: transformers' configuration.
        options: the recipe's training section.
        precision: of products and frozen weights.
        layers: number of layers to build; 0: all.
    """
    config = copy.deepcopy(config)
    if layers:
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
    if options.adapter == "none":
        return empty_model(config, torch.float32)
    with torch.device("meta"):
        adapted = with_adapter(empty_model(config, torch_dtype(precision)), options)
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return adapted


def trace_step(
    config: Any,
    options: TrainingRecipe,
    precision: Precision,
    shape: Shape,
    *,
    checkpointing: bool,
    foreach: bool,
    shortened: bool,
) -> StepTrace:
    """Traces a step.

    Args:
        config: transformers' configuration.
        options: the recipe's training section.
        precision: of products and frozen weights.
        shape: the micro-batch's.
        checkpointing: whether activations are computed twice instead of kept.
        foreach: whether the optimizer takes all weights at once, as it does on GPUs.
        shortened: whether only some layers are traced; `layers_alike` says whether the others are like them.
    """
    found = [
        _trace(config, options, precision, shape, layers, checkpointing, foreach)
        for layers in (_DEPTHS if shortened else (0,))
    ]
    if not shortened:
        return found[0]
    first, second = found
    (low, high), depth = _DEPTHS, config.num_hidden_layers
    moments = [a.at_depth(b, depth) for a, b in zip(first[:3], second[:3], strict=True)]
    return StepTrace(*moments, flops=first.flops + (second.flops - first.flops) * (depth - low) // (high - low))


def _trace(
    config: Any,
    options: TrainingRecipe,
    precision: Precision,
    shape: Shape,
    layers: int,
    checkpointing: bool,
    foreach: bool,
) -> StepTrace:
    model = outline(config, options, precision, layers)
    if not shape.masked:
        _attend_without_mask(model)
    live = _LiveBytes()
    with FakeTensorMode():
        _materialise(model, options.adapter == "qlora", live)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        for weight in trained:
            weight.register_post_accumulate_grad_hook(partial(_gradient_made, live=live))
        optimizer = torch.optim.AdamW(trained, foreach=foreach)
        model.train()
        if checkpointing:
            model.activation_checkpointing_enable(dict(CHECKPOINTING))
        objective, batch = _objective(config, options, precision, model, shape.masked, live), _batch(shape, options)
        parts: list[Moment] = []
        with live, _marked(model, lambda: parts.append(live.take_peak())):
            with torch.autocast(_DEVICE.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = objective.total(model, batch)
            loss.backward()
        del loss
        parts.append(live.take_peak())
        moments = sum(2 * weight.nbytes for weight in trained)
        with live:
            optimizer.step()
        update = live.take_peak()
    ends = parts[-1:] if layers else parts[1:] or parts
    start, end = (Moment(m.total + moments, m.gradients) for m in (parts[0], max(ends)))
    return StepTrace(start, end, update, live.flops)


def _materialise(model: Any, four_bit: bool, live: _LiveBytes) -> None:
    """Gives a model on device meta fake memory, in place; tied weights stay tied."""
    for layer in list(_packed_layers(model)) if four_bit else ():
        layer.__class__ = _FourBitLinear
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        packs = isinstance(module, _FourBitLinear)
        for name, weight in module._parameters.items():
            if weight is None or (packs and name == "weight"):
                continue
            if id(weight) not in made:
                made[id(weight)] = nn.Parameter(_empty_like(weight), weight.requires_grad)
                live.count(made[id(weight)])
            module._parameters[name] = made[id(weight)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _empty_like(buffer)
                live.count(module._buffers[name])  # pyright: ignore[reportArgumentType]
        if packs:
            module.packed = torch.empty(_packed_bytes(module.weight.numel()), dtype=torch.uint8, device=_DEVICE)
            live.count(module.packed)


def _empty_like(tensor: Any) -> Any:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=_DEVICE)


def _packed_layers(model: Any) -> Iterator[Any]:
    """Returns the layers that `qlora` loads in 4 bits: all linear layers except the adapters' own and the head."""
    bases = (getattr(module, "base_layer", None) for module in model.modules())
    return (base for base in bases if type(base) is nn.Linear)


def _batch(shape: Shape, options: TrainingRecipe) -> dict[str, Any]:
    """Returns a batch with the shapes that a collator would make."""
    places = torch.empty(shape.targets, dtype=torch.long)
    batch = {
        "input_ids": torch.empty(shape.rows, shape.tokens, dtype=torch.long),
        "predicts": places,
        "targets": torch.empty_like(places),
        "sides": [shape.targets // shape.rows] * shape.rows if options.method == "dpo" else [],
    }
    return batch | ({"position_ids": torch.empty_like(batch["input_ids"])} if shape.masked else {})


def _objective(
    config: Any, options: TrainingRecipe, precision: Precision, model: Any, masked: bool, live: _LiveBytes
) -> Objective:
    """Returns the trainer's objective; DPO's reference is the model without its adapter, or a second one."""
    if options.method != "dpo":
        return TokenLoss()
    autocast = partial(torch.autocast, _DEVICE.type, torch.bfloat16, enabled=precision == "bf16")
    if options.adapter != "none":
        return PreferenceLoss(options.beta, adapter_off(model, autocast))
    second = outline(config, options, precision, model.config.num_hidden_layers)
    if not masked:
        _attend_without_mask(second)
    _materialise(second, False, live)
    return PreferenceLoss(options.beta, frozen(second, autocast))


@contextmanager
def _marked(model: Any, mark: Callable[[], None]) -> Iterator[None]:
    """Calls `mark` when the last two layers' backward passes are done, and when those of the first two begin."""
    layers = list(blocks(model))

    def watch(_: Any, __: Any, made: Any) -> None:
        hidden = made[0] if isinstance(made, tuple) else made
        if hidden.requires_grad:
            hidden.register_hook(lambda _: mark())

    places = [layers[-3], layers[1]] if len(layers) >= min(_DEPTHS) else []
    hooks = [layer.register_forward_hook(watch) for layer in places]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _gradient_made(weight: Any, live: _LiveBytes) -> None:
    live.gradients += weight.grad.nbytes


def _attend_without_mask(model: Any) -> None:
    """Makes a model, bare or with an adapter, need no mask for causal rows of one sequence, as with real tensors.

    transformers reads from positions whether rows are packed. It can't from fakes, takes rows for packed, and repeats
    keys and values for the mask.
    """
    inner = without_adapter(model)
    if not uses_torch_attention(inner):  # whose own attention always takes a mask
        return
    AttentionInterface.register(_UNPACKED, sdpa_attention_forward)
    AttentionMaskInterface.register(_UNPACKED, _mask_unless_causal)
    inner.set_attn_implementation(_UNPACKED)


def _mask_unless_causal(*args: Any, **options: Any) -> Any:
    return sdpa_mask(*args, **options | {"allow_is_causal_skip": True})


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    heads = query.shape[1]  # which may share keys and values
    return sdpa_flop_count(query.shape, _of_heads(key, heads), _of_heads(value, heads))


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    heads = query.shape[1]
    return sdpa_backward_flop_count(gradient.shape, query.shape, _of_heads(key, heads), _of_heads(value, heads))


def _of_heads(tensor: Any, heads: int) -> list[int]:
    return [len(tensor), heads, *tensor.shape[2:]]


_FLOPS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    # Torch counts GPUs' kernels alone.
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
