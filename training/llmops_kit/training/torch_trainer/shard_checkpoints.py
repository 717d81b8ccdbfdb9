"""The tensors of a checkpoint: each rank writes its own, and any number of ranks can read them.

Files are safetensors in the form of torch.distributed.checkpoint's HuggingFaceStorageWriter, with each shard's offsets
in the whole tensor, and torch's reader assembles them. Torch's writer is not used, since it exchanges pickles between
ranks, and its other formats contain a pickle (`.metadata`): nothing in a checkpoint is unpickled.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmops_kit.core.errors import IntegrityError
from llmops_kit.training.torch_trainer.sharding import is_shard

SHARDS = "shards"
"""Folder in a checkpoint of every rank's tensors."""
_PLACES, _OFFSETS = "DCP_SHARDING_INFO", "saved_offsets"  # torch/distributed/checkpoint/_hf_utils.py


def save_shards(tensors: Mapping[str, Any], folder: Path, rank: int) -> None:
    """Writes this rank's shards of tensors, and from rank 0 also the tensors that every rank has whole."""
    from safetensors.torch import save_file

    local: dict[str, Any] = {}
    places: dict[str, dict[str, list[int]]] = {}
    for name, tensor in tensors.items():
        if is_shard(tensor):
            part, place = tensor.to_local(), list(tensor.__create_chunk_list__()[0].offsets)
        elif rank == 0:
            part, place = tensor, [0] * tensor.dim()
        else:
            continue
        if part.numel():  # fewer rows than ranks leave some without one
            local[name], places[name] = part.detach().cpu().contiguous(), {_OFFSETS: place}
    (folder / SHARDS).mkdir(parents=True, exist_ok=True)
    save_file(local, folder / shard_name(rank), {_PLACES: json.dumps(places)})


def shard_name(rank: int) -> str:
    """Returns the path of a rank's file in a checkpoint."""
    return f"{SHARDS}/rank-{rank}.safetensors"


def saved_tensors(folder: Path) -> dict[str, tuple[Any, Any]]:
    """Returns the tensors of a checkpoint by name: shape and dtype of each, whole."""
    found = _reader(folder).read_metadata().state_dict_metadata
    return {name: (entry.size, entry.properties.dtype) for name, entry in found.items()}


def load_shards(tensors: dict[str, Any], folder: Path) -> None:
    """Fills tensors, whole or sharded, from a checkpoint's tensors of the same names.

    Raises:
        IntegrityError: the checkpoint lacks one, or has it in another shape.
    """
    from torch.distributed.checkpoint.state_dict_loader import load

    there = saved_tensors(folder)
    for name, tensor in tensors.items():
        if name not in there or there[name] != (tensor.size(), tensor.dtype):
            found = "not there" if name not in there else f"{list(there[name][0])} of {there[name][1]}"
            raise IntegrityError(
                f"{name} is {found}; the run needs {list(tensor.size())} of {tensor.dtype}",
                where=str(folder),
                fix="start a new run: this checkpoint is of another model or recipe",
            )
    load(tensors, storage_reader=_reader(folder), no_dist=True)


def _reader(folder: Path) -> Any:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    return HuggingFaceStorageReader(str(folder / SHARDS))
