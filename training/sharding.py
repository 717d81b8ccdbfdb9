"""Weights, gradients and the optimizer's moments in shards, one on each rank: torch's FSDP2 (Zhao et al. 2023).

The kit wraps models itself: on processors, accelerate takes DDP in FSDP's place without a word.
"""

from collections.abc import Iterator
from typing import Any

from contract.documents.recipe_training import Training
from contract.errors import RunError
from training.process import say
from training.ranks import Alone

_LARGEST_SHARE = 0.6  # of a GPU's memory that may be weights, gradients and moments; the rest is for activations
_ADAM_BYTES = 12  # of each trained weight: gradient and two moments, in f32


def shard_if_needed(model: Any, options: Training, ranks: Alone, device: Any) -> None:
    """Shards a model if the recipe or its size asks for it. 4-bit weights are never sharded: FSDP2 can't split them."""
    if ranks.size == 1 or options.adapter == "qlora":
        return
    if options.sharding is True or (options.sharding == "auto" and ranks.any_asks(_is_too_large(model, device))):
        shard(model, ranks, device)
        say(sharding="on", ranks=ranks.size)


def shard(model: Any, ranks: Alone, device: Any) -> None:
    """Spreads a model over the ranks' devices, in place: each of its blocks is whole only while it computes.

    Args:
        model: of transformers, or one of peft's around it, whole, on the processor.
        ranks: all of them.
        device: of this rank.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (ranks.size,))
    for block in blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def require_sharded(model: Any) -> None:
    """Checks that each weight is sharded, and that nothing wrapped the model again.

    Raises:
        RunError: naming a weight that is not.
    """
    if whole := next((name for name, weight in model.named_parameters() if not is_shard(weight)), None):
        raise RunError("was not sharded, though the job asked for it", where=whole, fix="report it, with the recipe")


def is_sharded(model: Any) -> bool:
    """Returns whether `shard_if_needed` sharded a model."""
    return any(is_shard(weight) for weight in model.parameters())


def is_shard(tensor: Any) -> bool:
    """Returns whether a tensor is spread over ranks."""
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def trained_weights(model: Any, keep: bool = True) -> dict[str, Any]:
    """Returns the weights that are trained, whole, on the processor, by name. All ranks call it together.

    Args:
        model: in shards or not.
        keep: False: this rank only gives its shards; empty.
    """
    found: dict[str, Any] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            tensor = whole(weight.detach())
            found |= {name: tensor.cpu().contiguous()} if keep else {}
    return found


def whole(tensor: Any) -> Any:
    """Returns a tensor assembled from its shards; an unsharded one is returned unchanged. All ranks must call it."""
    return tensor.full_tensor() if is_shard(tensor) else tensor


def _is_too_large(model: Any, device: Any) -> bool:
    if device.type != "cuda":
        return False
    import torch

    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return fill_a_gpu(weights, trained, torch.cuda.get_device_properties(device).total_memory)


def fill_a_gpu(weights: int, trained: int, memory: int) -> bool:
    """Returns whether a model leaves too little room for activations on a GPU.

    Args:
        weights: bytes of them.
        trained: how many of them are trained.
        memory: bytes of the GPU.
    """
    return weights + trained * _ADAM_BYTES > _LARGEST_SHARE * memory


def blocks(model: Any) -> Iterator[Any]:
    """Returns the layers that transformers never splits."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    names = set(inner._no_split_modules or ())
    return (module for module in inner.modules() if type(module).__name__ in names)
