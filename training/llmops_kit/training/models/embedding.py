"""Reads embedding models in sentence-transformers' layout, and writes them to a version.

https://sbert.net/docs/sentence_transformer/usage/custom_models.html (modules.json, 1_Pooling, 2_Normalize)
"""

import json
import shutil
from pathlib import Path
from typing import Any, Literal, cast, get_args

from llmops_kit.core.documents.model import EmbeddingForm, Pooling
from llmops_kit.core.errors import KitError

_MODULES = "modules.json"
_LENGTHS = "sentence_bert_config.json"
_FLAGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_FIX = "take one of a transformer with mean, CLS or last-token pooling, such as sentence-transformers/all-MiniLM-L6-v2"
StoredAs = Literal["F32", "BF16"]


def embedding_of(folder: Path) -> EmbeddingForm | None:
    """Returns the form of a folder's embedding model; None if it isn't one.

    Raises:
        KitError: the kit doesn't support its modules or its pooling.
    """
    path = folder / _MODULES
    if not path.exists():
        return None
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in _read(path)]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise KitError(f"has the modules {', '.join(kinds)}", where=str(path), fix=_FIX)
    pooling_folder = folder / str(_read(path)[1].get("path", ""))
    if pooling_folder.resolve().parent != folder.resolve():
        raise KitError("names a folder outside of the model", where=str(path), fix="fetch the model again")
    pooling = pooling_folder / "config.json"
    config = _read(folder / "config.json")
    limits = [config.get("max_position_embeddings")]
    for name, key in ((_LENGTHS, "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        limits.append(_read(folder / name).get(key) if (folder / name).exists() else None)
    return EmbeddingForm(
        pooling=_pooling(_read(pooling), pooling),
        normalize="Normalize" in kinds,
        dimensions=config["hidden_size"],
        max_tokens=min(limit for limit in limits if isinstance(limit, int)),
    )


def _pooling(config: dict[str, Any], path: Path) -> Pooling:
    modes = {mode for name, mode in _FLAGS.items() if config.get(name)}
    modes |= {config["pooling_mode"]} if "pooling_mode" in config else set()
    others = [n for n, v in config.items() if n.startswith("pooling_mode_") and v and n not in _FLAGS]
    if len(modes) != 1 or others or not modes <= set(get_args(Pooling)):
        raise KitError(f"pools by {', '.join(map(str, [*modes, *others])) or 'nothing'}", where=str(path), fix=_FIX)
    return cast(Pooling, modes.pop())


def store_embedding_model(source: Path, target: Path) -> StoredAs:
    """Writes safetensors in their own precision, configuration and tokenizer; returns the precision."""
    import torch

    from llmops_kit.training.models.weights import SHARD_SIZE, forget_paths, load_tokenizer

    model = load_encoder(source)
    stored: StoredAs = "BF16" if model.dtype == torch.bfloat16 else "F32"
    model = model.to(torch.bfloat16 if stored == "BF16" else torch.float32)
    target.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(target, safe_serialization=True, max_shard_size=SHARD_SIZE)
    load_tokenizer(source).save_pretrained(target)
    forget_paths(target)
    for name in _described(source):
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, target / name)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return stored


def load_encoder(folder: Path) -> Any:
    """Returns a transformer without a head, in evaluation mode, from safetensors alone.

    Raises:
        KitError: the files lack tensors of the architecture, or have others.
    """
    from transformers import AutoModel

    from llmops_kit.training.models.weights import require_complete

    loaded: Any = AutoModel.from_pretrained(
        folder, dtype="auto", use_safetensors=True, trust_remote_code=False, local_files_only=True,
        output_loading_info=True, ignore_mismatched_sizes=True, **_without_pooler(folder),
    )  # fmt: skip
    model, loading = loaded
    # Many files contain a pooler, BERT's layer after the first token, which embeddings don't use.
    known = {key for key in loading["unexpected_keys"] if not key.startswith("pooler.")}
    require_complete({**loading, "unexpected_keys": known}, folder)
    return model.eval()


def _without_pooler(folder: Path) -> dict[str, bool]:
    """Returns the argument that leaves out the pooler, where the architecture has one."""
    import inspect

    from transformers import MODEL_MAPPING, AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    has_one = "add_pooling_layer" in inspect.signature(MODEL_MAPPING[type(config)].__init__).parameters
    return {"add_pooling_layer": False} if has_one else {}


def _described(folder: Path) -> list[str]:
    """Returns the files that tell vLLM and sentence-transformers how vectors are computed."""
    pooling = f"{_read(folder / _MODULES)[1]['path']}/config.json"
    return [_MODULES, pooling, *(name for name in [_LENGTHS] if (folder / name).exists())]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise KitError(f"can't be read: {e}", where=str(path), fix="fetch the model again") from e
