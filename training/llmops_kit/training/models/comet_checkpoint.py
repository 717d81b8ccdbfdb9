"""Reads COMET's published layout, `hparams.yaml` and `checkpoints/model.ckpt`, and writes its weights to a version.

The checkpoint is a pickle, the only one that the kit reads: once, in an import, by torch's unpickler for weights, which
creates tensors, numbers, strings and containers, and refuses everything else by name before it is used
(https://docs.pytorch.org/docs/stable/notes/serialization.html#weights-only). What is stored is safetensors.

The model is unbabel-comet's RegressionMetric (Rei et al. 2020, arXiv:2009.09025); `load_from_checkpoint` takes its
settings from the checkpoint, and only the kind of the model from hparams.yaml.
"""

import json
import re
import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from llmops_kit.core.documents.model import Activation, CometForm
from llmops_kit.core.errors import KitError

HPARAMS = "hparams.yaml"
CHECKPOINT = Path("checkpoints", "model.ckpt")
HEAD = "head.safetensors"
"""The layers' weights and the feed-forward network, under COMET's names."""
TOKENIZER = "tokenizer.json"
_CONFIG = "config.json"
_ENCODER = "encoder.model."
_UNUSED = (f"{_ENCODER}pooler.", f"{_ENCODER}embeddings.position_ids", "layerwise_attention.dropout_")
"""Prefixes of a checkpoint's weights that scoring does not use."""
_DEFAULTS = {
    "encoder_model": "XLM-RoBERTa",
    "pool": "avg",
    "layer": "mix",
    "layer_norm": True,
    "layer_transformation": "softmax",
    "hidden_sizes": [3072, 1024],
    "activations": "Tanh",
    "final_activation": None,
}
"""RegressionMetric's defaults, for arguments that a checkpoint lacks."""
_SUPPORTED = {"encoder_model": "XLM-RoBERTa", "pool": "avg", "layer": "mix", "layer_norm": False}
_FIX = "take a COMET model of the kind of Unbabel/wmt22-comet-da"


def is_comet(folder: Path) -> bool:
    """Returns whether a folder has COMET's layout."""
    return (folder / HPARAMS).is_file() and (folder / CHECKPOINT).is_file()


def check_comet(folder: Path) -> None:
    """Refuses a COMET model without its encoder's configuration and tokenizer, or with another encoder than XLM-R.

    Raises:
        KitError: naming what is missing.
    """
    hparams = _read_hparams(folder / HPARAMS)
    if lacking := [name for name in (_CONFIG, TOKENIZER) if not (folder / name).is_file()]:
        encoder = hparams.get("pretrained_model") or "its encoder"
        raise KitError(
            f"lacks {' and '.join(lacking)} of {encoder}, which COMET would fetch; an import fetches nothing",
            where=str(folder),
            fix=f"copy {_CONFIG} and {TOKENIZER} of {encoder} into this folder",
        )
    if (kind := hparams.get("class_identifier")) != "regression_metric":
        raise KitError(f"is a COMET model of kind {kind}", where=f"{folder / HPARAMS}: class_identifier", fix=_FIX)
    kind = json.loads((folder / _CONFIG).read_text()).get("model_type")
    if kind != "xlm-roberta":
        raise KitError(f"is the configuration of {kind}, not of XLM-R", where=str(folder / _CONFIG), fix=_FIX)


def store_comet_model(source: Path, target: Path) -> CometForm:
    """Writes the encoder as transformers' XLMRobertaModel (F32), its tokenizer, and the head in a file beside it.

    Args:
        source: has COMET's layout (`check_comet`).
        target: the version's folder.

    Returns:
        The settings by which the head computes a score.

    Raises:
        KitError: the checkpoint holds more than weights, or weights that don't match its settings and config.json.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import XLMRobertaConfig, XLMRobertaModel

    from llmops_kit.training.models.weights import SHARD_SIZE, forget_paths

    settings, weights = _read_checkpoint(source)
    form, hidden_sizes = _form(settings, source)
    config = XLMRobertaConfig.from_pretrained(source, local_files_only=True)
    config.dtype = torch.float32
    with torch.device("meta"):
        encoder = XLMRobertaModel(config, add_pooling_layer=False)
    wanted = {f"{_ENCODER}{name}": tuple(weight.shape) for name, weight in encoder.state_dict().items()}
    head = _head_shapes(config.hidden_size, config.num_hidden_layers + 1, hidden_sizes)
    _require_weights(weights, wanted | head, source)
    target.mkdir(parents=True, exist_ok=True)
    of_encoder = {name.removeprefix(_ENCODER): weights[name].float() for name in wanted}
    encoder.load_state_dict(of_encoder, assign=True)
    encoder.save_pretrained(target, max_shard_size=SHARD_SIZE)
    save_file({name: weights[name].float().contiguous() for name in sorted(head)}, target / HEAD)
    shutil.copyfile(source / TOKENIZER, target / TOKENIZER)
    forget_paths(target)
    for path in target.iterdir():
        path.chmod(0o644)
    return form


def _read_checkpoint(source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns RegressionMetric's arguments and the weights by name."""
    import torch

    path = source / CHECKPOINT
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        weights, settings = found["state_dict"], found.get("hyper_parameters", {})
        if not all(isinstance(each, torch.Tensor) for each in weights.values()):
            raise TypeError("its state_dict holds other things than tensors")
    except Exception as e:  # torch has several for files that it can't read, or won't
        raise KitError(
            f"is no checkpoint of weights alone: {_reason(e)}",
            where=str(path),
            fix="write one with its `state_dict` and `hyper_parameters` alone, on an isolated machine; the kit reads "
            "nothing else from a pickle",
        ) from e
    used = {name: weight for name, weight in weights.items() if not name.startswith(_UNUSED)}
    hparams = _read_hparams(source / HPARAMS)
    settings = _DEFAULTS | {key: settings[key] for key in _DEFAULTS if key in settings}
    if hparams.get("layer_transformation") == "sparsemax_patch":  # as COMET reads it: Unbabel/COMET issue 244
        settings["layer_transformation"] = "softmax"
    return settings, used


def _reason(e: Exception) -> str:
    """Returns why torch refused a file, without its advice to read it unsafely."""
    if named := re.search(r"GLOBAL (\S+)", str(e)):
        return f"it asks for {named[1]}"
    if said := re.search(r"WeightsUnpickler error: (.+)", str(e)):
        return said[1]
    return (str(e).strip().splitlines() or [type(e).__name__])[0]


def _form(settings: Mapping[str, Any], source: Path) -> tuple[CometForm, list[int]]:
    """Returns the settings by which the head computes a score, and the sizes of its hidden layers."""
    others = {key: settings[key] for key, value in _SUPPORTED.items() if settings[key] != value}
    transformation, sizes = settings["layer_transformation"], settings["hidden_sizes"]
    if transformation not in ("softmax", "sparsemax"):
        others["layer_transformation"] = transformation
    if not (isinstance(sizes, list) and sizes and all(type(size) is int and size > 0 for size in sizes)):
        others["hidden_sizes"] = sizes
    names = [settings["activations"], *filter(None, [settings["final_activation"]])]
    activations = [str(name).title() for name in names]  # as COMET finds them in torch.nn
    if unknown := [name for name in activations if name not in get_args(Activation)]:
        others["activations"] = unknown[0]
    if others:
        words = ", ".join(f"{key}: {value}" for key, value in others.items())
        raise KitError(f"has {words:.200}, which the kit does not compute", where=str(source / CHECKPOINT), fix=_FIX)
    form = {"layer_weights": transformation, "activation": activations[0]}
    return CometForm.model_validate({**form, "final_activation": activations[1] if activations[1:] else None}), sizes


def _head_shapes(hidden: int, layers: int, sizes: list[int]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the head's tensors; every third module of its network is linear."""
    mix = {f"layerwise_attention.scalar_parameters.{layer}": (1,) for layer in range(layers)}
    shapes: dict[str, tuple[int, ...]] = {"layerwise_attention.gamma": (1,), **mix}
    widths = [6 * hidden, *sizes, 1]
    for number, (wide, narrow) in enumerate(pairwise(widths)):
        shapes |= {f"estimator.ff.{3 * number}.weight": (narrow, wide), f"estimator.ff.{3 * number}.bias": (narrow,)}
    return shapes


def _require_weights(weights: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]], source: Path) -> None:
    from llmops_kit.training.models.weights import require_complete

    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    loading = {
        "missing_keys": wanted.keys() - shapes.keys(),
        "unexpected_keys": shapes.keys() - wanted.keys(),
        "mismatched_keys": [(name, shapes[name], wanted[name]) for name in wanted.keys() & shapes.keys()
                            if shapes[name] != wanted[name]],
    }  # fmt: skip
    require_complete(loading, source / CHECKPOINT)


def _read_hparams(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as e:
        raise KitError(f"is not YAML: {e}", where=str(path), fix="fetch the model again") from e
    return found if isinstance(found, dict) else {}
