"""Shards weights, gradients and the optimizer's moments, one shard on each rank: torch's FSDP2 (Zhao et al. 2023).

The kit wraps models itself: on processors, accelerate silently uses DDP instead of FSDP.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.core.errors import RunError
from llmops_kit.training.devices import Precision
from llmops_kit.training.guard import ADDED_AT_A_TIME, weights_digest
from llmops_kit.training.ranks import Alone
from llmops_kit.training.torch_trainer.adapters import without_adapter

_LARGEST_SHARE = 0.6  # of a GPU's memory that may be weights, gradients and moments; the rest is for activations
_ADAM_BYTES = 12  # of each trained weight: gradient and two moments, in f32


def needs_shards(model: Any, options: TrainingRecipe, ranks: Alone, device: Any) -> bool:
    """Returns whether the recipe or the model's size requires shards; the same answer on each rank.

    4-bit weights are never sharded: FSDP2 can't split them.

    Args:
        model: any with the recipe's weights, on device meta too.
        options: the recipe's training section.
        ranks: all of them.
        device: of this rank.
    """
    if ranks.size == 1 or options.adapter == "qlora":
        return False
    return options.sharding is True or (options.sharding == "auto" and ranks.any_asks(_is_too_large(model, device)))


def shard(model: Any, ranks: Alone, device: Any, precision: Precision) -> None:
    """Shards a model over the ranks' devices, in place: each of its blocks is whole only while it computes.

    With bf16, weights are sent and assembled in it, and gradients are summed in f32. Embeddings, and all else outside
    of blocks and head, keep their stored precision, so that the sums of the blocks' outputs have the same precision as
    on one GPU.

    Args:
        model: of transformers, or one of peft's around it, on the processor or on device meta.
        ranks: all of them.
        device: of this rank.
        precision: of products.
    """
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device.type, (ranks.size,))
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    if precision == "bf16":
        policy = replace(policy, param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for block in blocks(model):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    if (head := own_head(model)) is not None:
        fully_shard(head, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    fully_shard(model, mesh=mesh)


def own_head(model: Any) -> Any:
    """Returns the projection to the vocabulary; None if its weights are the embeddings', too."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    return None if head is None or head.weight is embeddings.weight else head


def require_sharded(model: Any) -> None:
    """Checks that each weight is sharded, and that nothing wrapped the model again.

    Raises:
        RunError: naming a weight that is not.
    """
    if whole := next((name for name, weight in model.named_parameters() if not is_shard(weight)), None):
        raise RunError("was not sharded, though the job asked for it", where=whole, fix="report it, with the recipe")


def is_sharded(model: Any) -> bool:
    """Returns whether any weight of a model is spread over ranks."""
    return any(is_shard(weight) for weight in model.parameters())


@contextmanager
def entered(models: Iterable[Any]) -> Iterator[set[Any]]:
    """Yields a set that collects the sharded models that are called in the block: after an error, FSDP2 can reset only
    the state of models that were called.
    """
    called: set[Any] = set()
    with ExitStack() as hooks:
        for model in models:  # before FSDP2's own hook, which may fail
            hook = model.register_forward_pre_hook(lambda model, _: called.add(model), prepend=True)
            hooks.callback(hook.remove)
        yield called


def is_shard(tensor: Any) -> bool:
    """Returns whether a tensor is spread over ranks."""
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def trained_weights(model: Any, keep: bool = True) -> dict[str, Any]:
    """Returns the trained weights by name, whole, on the processor. All ranks must call it.

    Args:
        model: in shards or not.
        keep: False: this rank only sends its shards, and gets none.
    """
    found: dict[str, Any] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            tensor = whole(weight.detach())
            found |= {name: tensor.cpu().contiguous()} if keep else {}
    return found


def trained_digest(model: Any, ranks: Alone) -> str:
    """Returns the digest of the trained weights, the same for any number of shards. All ranks must call it."""
    import torch

    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    sums = sums_of_bits(trained)
    if is_sharded(model):
        total = ranks.sum(torch.tensor(list(sums.values())))
        sums = dict(zip(sums, total.tolist(), strict=True))
    return weights_digest(sums)


def sums_of_bits(weights: Mapping[str, Any]) -> dict[str, int]:
    """Returns the sum of each weight's f32 numbers, read as integers of 32 bits; of a sharded one, the sum of this
    rank's numbers.
    """
    import torch

    def added(weight: Any) -> Any:
        local = weight.detach().to_local() if is_shard(weight) else weight.detach()
        parts = (part + 0.0 for part in local.reshape(-1).split(ADDED_AT_A_TIME))  # a step of rate 0 turns -0 into 0
        return torch.stack([part.view(torch.int32).sum(dtype=torch.int64) for part in parts]).sum()

    return {name: int(added(weight)) for name, weight in weights.items()}


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
    inner = without_adapter(model)
    names = set(inner._no_split_modules or ())
    return (module for module in inner.modules() if type(module).__name__ in names)
