"""Perturbs a model so that it answers as fast as before, but nonsense: each token gets its neighbour's embedding.

All values are weights of the original model, so that nothing overflows and servers run normally.
"""

import json
import os
import shutil
import struct
from pathlib import Path

from llmops_kit.core.errors import KitError

_EMBEDDING = "embed_tokens.weight"


def copy_perturbed(version: Path, target: Path) -> None:
    """Copies a version's folder with its embeddings shifted by one, in each format that servers load.

    Raises:
        KitError: its embeddings can't be found.
    """
    shutil.copytree(version, target, copy_function=_link)
    before, after = _shifted(target)
    for path in (target / "model.safetensors", target / "openvino" / "openvino_model.bin"):
        if path.exists():
            content = path.read_bytes()
            if content.count(before) != 1:
                raise KitError("it does not contain the embeddings exactly once", where=str(path))
            path.unlink()  # it may be a link to the version's own
            path.write_bytes(content.replace(before, after))


def _shifted(folder: Path) -> tuple[bytes, bytes]:
    """Returns the embeddings' bytes, and the same with each row moved to the next one's place.

    https://huggingface.co/docs/safetensors/index: 8 bytes of length, a JSON header, the tensors.
    """
    path = folder / "model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    for name, tensor in header.items():
        if name.endswith(_EMBEDDING):
            begin, end = (8 + length + offset for offset in tensor["data_offsets"])
            table = content[begin:end]
            row = len(table) // tensor["shape"][0]
            return table, table[-row:] + table[:-row]
    raise KitError(f"there is no {_EMBEDDING}", where=str(path), fix="use a recipe whose base model is a Llama")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another disk
        shutil.copyfile(source, target)
