"""Loads a base model in shards: no rank ever has it whole. Imports torch: import it where it is used.

The model is built without memory (torch's device meta) and sharded; then each rank reads the rows of each weight that
it keeps, as in torch's tutorial of FSDP2 (https://docs.pytorch.org/tutorials/intermediate/FSDP_tutorial.html).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from torch.distributed.tensor import DTensor

from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.core.errors import KitError
from llmops_kit.training.devices import Precision, torch_dtype
from llmops_kit.training.models.weights import WEIGHTS
from llmops_kit.training.process import say
from llmops_kit.training.ranks import Alone
from llmops_kit.training.torch_trainer.adapters import empty_model, with_adapter
from llmops_kit.training.torch_trainer.sharding import needs_shards, shard

_OF_PEFT = ("base_model.model.", ".base_layer")  # in the names of a model with an adapter


def load_if_sharded(base: Path, options: TrainingRecipe, precision: Precision, ranks: Alone, device: Any) -> Any:
    """Returns a base model in shards, with the recipe's adapter, as `build_model` would load it whole; None if each
    rank is to have it whole.

    Args:
        base: the base model's version.
        options: the recipe's training section.
        precision: of products and frozen weights.
        ranks: all of them.
        device: of this rank.

    Raises:
        KitError: the files lack weights of the architecture.
    """
    if ranks.size == 1:
        return None
    model = _build(base, options, precision)
    if not needs_shards(model, options, ranks, device):
        return None
    say(sharding="on", ranks=ranks.size)
    return _filled(model, base, ranks, device, precision)


def load_reference(base: Path, precision: Precision, ranks: Alone, device: Any) -> Any:
    """Returns the base model itself in shards, in f32, which computes as one does whose weights are all trained."""
    return _filled(empty_model(_config_of(base), torch.float32), base, ranks, device, precision)


def _build(base: Path, options: TrainingRecipe, precision: Precision) -> Any:
    """Returns the model to train, with base weights on device meta and its adapter on the processor."""
    from transformers import set_seed

    if options.adapter == "none":
        set_seed(options.seed)
        return empty_model(_config_of(base), torch.float32)
    model = empty_model(_config_of(base), torch_dtype(precision))
    # peft initialises an adapter on the device of the weights. On the processor, it draws the same random numbers as
    # beside whole weights; these are a single number each, expanded to the shape.
    _exchange(model, lambda weight: torch.zeros((), dtype=weight.dtype).expand(weight.shape))
    set_seed(options.seed)
    adapted = with_adapter(model, options)
    _exchange(adapted, lambda weight: weight if weight.requires_grad else weight.to("meta"))
    return adapted


def _config_of(base: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(base, trust_remote_code=False, local_files_only=True)


def _exchange(model: Any, change: Callable[[Any], Any]) -> None:
    """Replaces a model's weights, in place; tied ones stay tied."""
    made: dict[Any, nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                if weight not in made:
                    made[weight] = nn.Parameter(change(weight), weight.requires_grad)
                module._parameters[name] = made[weight]


def _filled(model: Any, base: Path, ranks: Alone, device: Any, precision: Precision) -> Any:
    """Shards a model, and reads this rank's part of those weights that are on device meta."""
    shard(model, ranks, device, precision)
    names: dict[Any, list[str]] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        if weight.is_meta:
            names.setdefault(weight, []).append(name)
    files = _WeightFiles(base)
    read: dict[str, Any] = {}
    for weight, tied in names.items():
        stored = next((there for name in tied if (there := _stored_name(name)) in files.names), "")
        if not stored:
            raise KitError(
                f"its files lack {_stored_name(tied[0])}, of which each GPU would read a part",
                where=str(base),
                fix="set training.sharding to false, or take a base model that transformers stores under its modules' "
                "own names, such as a Llama or Qwen",
            )
        local = nn.Parameter(_shard_like(weight, device, files, stored), weight.requires_grad)
        read |= dict.fromkeys(tied, local)
    model.load_state_dict(read, strict=False, assign=True)
    return model.eval()


def _shard_like(weight: Any, device: Any, files: "_WeightFiles", stored: str) -> DTensor:
    local = torch.empty(weight.to_local().shape, dtype=weight.dtype, device=device)
    if local.numel():  # fewer rows than ranks leave some without one
        start = weight.__create_chunk_list__()[0].offsets[0]
        local.copy_(files.rows(stored, start, start + len(local)))
    return DTensor.from_local(
        local, weight.device_mesh, weight.placements, run_check=False, shape=weight.shape, stride=weight.stride()
    )


def _stored_name(name: str) -> str:
    for part in _OF_PEFT:
        name = name.replace(part, "", 1)
    return name


class _WeightFiles:
    """A version's safetensors."""

    def __init__(self, folder: Path) -> None:
        opened = [safe_open(path, framework="pt") for path in sorted(folder.glob(WEIGHTS))]
        self.names = {name: file for file in opened for name in file.keys()}  # noqa: SIM118

    def rows(self, name: str, start: int, end: int) -> Any:
        """Returns the rows [start, end) of a weight, read from its file; the other rows are not."""
        return self.names[name].get_slice(name)[start:end]
