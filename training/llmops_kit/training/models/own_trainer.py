"""Checks the result of another trainer: an untrusted Hugging Face folder.

Only its weights get into the version; configuration, tokenizer and chat template are the base model's, with which it
must have been trained. Nothing in the folder is executed, and no pickle is opened.
"""

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmops_kit.core.documents.model import TrainingFacts
from llmops_kit.core.documents.training_metrics import parse_metrics
from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import METRICS, TRAINER_FACTS
from llmops_kit.core.validation import first_message
from llmops_kit.training.models.importing import PICKLES, refuse_code
from llmops_kit.training.models.weights import WEIGHTS

_MOST_BYTES = 256 * 2**20
"""Maximum size of a JSON file; the largest tokenizers take some tens of megabytes."""
_MOST_FILES = 10_000
_NOT_READ = "training_args.bin"
"""A pickle that transformers' Trainer leaves beside its weights. Nothing opens it."""
_DTYPES = ("F32", "F16", "BF16")
# Keys of config.json that may differ: they don't change the computation, or servers use the base model's value.
_OWN_KEYS = (
    *("_name_or_path", "name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"),
    *("bos_token_id", "eos_token_id", "pad_token_id"),
)
_SAVE = "let the trainer end with `model.save_pretrained(folder)` of the whole, merged model"
_TOKENIZER = "train with the base model's own tokenizer, without adding tokens: servers use that one"


def check_trained(folder: Path, base: Path) -> TrainingFacts | None:
    """Checks a trainer's result before anything in it is loaded.

    Args:
        folder: its folder.
        base: the base model's version, whose weights these must replace one by one.

    Returns:
        The trainer's facts about the training; None if it wrote none.

    Raises:
        KitError: pickles, code or links in it, no weights, or those of another model; naming file or tensor.
    """
    _check_files(folder)
    if not list(folder.glob(WEIGHTS)):
        raise KitError(*_no_weights(folder), where=str(folder), fix=_SAVE)
    if not (folder / "config.json").is_file():
        raise KitError("has no config.json, so its model is unknown", where=str(folder), fix=_SAVE)
    for name in ("config.json", "tokenizer_config.json"):
        _read_object(folder / name)
    refuse_code(folder)
    _check_config(folder, base)
    _check_tensors(folder, base)
    _check_tokenizer(folder, base)
    _check_template(folder, base)
    if (measured := folder / METRICS).exists():
        parse_metrics(_text(measured).encode(), str(measured))
    return _read_facts(folder)


def tensor_files(folder: Path) -> dict[str, Path]:
    """Returns the file of each tensor of a folder's weights.

    Raises:
        KitError: a file is not safetensors, or two contain the same tensor.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.glob(WEIGHTS)):
        for name in _header(path):
            if name in found:
                raise KitError(f"is in {found[name].name} and in {path.name}", where=f"{folder}: {name}", fix=_SAVE)
            found[name] = path
    return found


def _check_files(folder: Path) -> None:
    """Refuses links and special files, pickles and Python files. Folders, such as checkpoints, are not read."""
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)[:_MOST_FILES] if folder.is_dir() else []
    if not entries:
        raise KitError(
            "is empty: the trainer succeeded, and wrote nothing",
            where=str(folder),
            fix="let it write the trained model into the folder that $LLMOPS_FOLDER_MODEL names",
        )
    for entry in entries:
        mode = entry.stat(follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            what = "is a link" if stat.S_ISLNK(mode) else "is no file"
            raise KitError(f"{what}, which the kit does not follow", where=entry.path, fix="write plain files")
        path = Path(entry.path)
        if path.suffix == ".py":
            raise KitError("is code, and the kit never runs a model's", where=str(path), fix="leave it out")
        if path.name != _NOT_READ and any(path.match(pattern) for pattern in PICKLES):
            raise KitError(
                "is a pickle, which can run code when it is loaded",
                where=str(path),
                fix="write weights as safetensors (`save_pretrained` does), and leave this file out",
            )


def _no_weights(folder: Path) -> tuple[str]:
    if (folder / "adapter_config.json").exists():
        return ("has an adapter and not the weights that it was trained for: merge it (`model.merge_and_unload()`)",)
    return (f"has no weights: no file is named {WEIGHTS}",)


def _check_config(folder: Path, base: Path) -> None:
    ours, theirs = _read_object(base / "config.json"), _read_object(folder / "config.json")
    for key in sorted(ours.keys() & theirs.keys() - set(_OWN_KEYS)):
        if ours[key] != theirs[key]:
            raise KitError(
                f"is {theirs[key]!r:.200}; the base model has {ours[key]!r:.200}",
                where=f"{folder / 'config.json'}: {key}",
                fix="train the base model of the run (its folder is $LLMOPS_FOLDER_BASE_MODEL), and no other one",
            )


def _check_tensors(folder: Path, base: Path) -> None:
    """Compares names, shapes and types with the base model's; sizes follow from these."""
    ours = {name: shape for path in sorted(base.glob("*.safetensors")) for name, (shape, _) in _header(path).items()}
    theirs = {name: each for path in sorted(folder.glob(WEIGHTS)) for name, each in _header(path).items()}
    tensor_files(folder)
    faults = {
        "lacks": [name for name in ours if name not in theirs],
        "has unknown": [name for name in theirs if name not in ours],
        "has in another shape": [
            f"{name} {theirs[name][0]}, not {shape}" for name, shape in ours.items() if name in theirs
            and theirs[name][0] != shape
        ],
        "has in a type that is not one of F32, F16 and BF16": [
            f"{name} ({dtype})" for name, (_, dtype) in theirs.items() if dtype not in _DTYPES
        ],
    }  # fmt: skip
    for verb, names in faults.items():
        if names:
            rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
            words = ", ".join(name[:120] for name in sorted(names)[:3])
            raise KitError(f"{verb} {words}{rest}", where=str(folder), fix=_SAVE)


def _header(path: Path) -> dict[str, tuple[list[int], str]]:
    """Returns each tensor's shape and type; the library refuses files whose header and size contradict each other."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (list(each.get_shape()), str(each.get_dtype())) for name, each in slices.items()}
    except (SafetensorError, OSError) as e:
        raise KitError(f"is not a safetensors file: {e}", where=str(path), fix=_SAVE) from e


def _check_tokenizer(folder: Path, base: Path) -> None:
    """Compares the tokenizer's tokens, their ids and its merges with the base's, if there is a tokenizer."""
    if not (folder / "tokenizer.json").exists():
        return
    ours, theirs = (dict(_tokens(_read_object(each / "tokenizer.json"))) for each in (base, folder))
    for what, words in {"tokens": "other tokens", "merges": "other merges"}.items():
        if ours.get(what) != theirs.get(what):
            raise KitError(
                f"has {words} than the base model's tokenizer", where=str(folder / "tokenizer.json"), fix=_TOKENIZER
            )


def _tokens(tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the compared parts of a tokenizer.json in one form, whichever version of its library wrote it."""
    model, added = tokenizer.get("model"), tokenizer.get("added_tokens")
    model = model if isinstance(model, dict) else {}
    vocabulary, merges = model.get("vocab"), model.get("merges")
    tokens = dict(vocabulary) if isinstance(vocabulary, dict) else {"": vocabulary}
    for each in added if isinstance(added, list) else []:
        if isinstance(each, dict):
            tokens[str(each.get("content"))] = each.get("id")
    yield "tokens", tokens
    pairs = merges if isinstance(merges, list) else []
    yield "merges", [pair.split(" ") if isinstance(pair, str) else pair for pair in pairs]


def _check_template(folder: Path, base: Path) -> None:
    theirs, ours = _template(folder), _template(base)
    if theirs and theirs != ours:
        raise KitError(
            "is another chat template than the base model's, which servers use",
            where=str(folder),
            fix="train with `tokenizer.apply_chat_template` of the base model's tokenizer, unchanged",
        )


def _template(folder: Path) -> str:
    path = folder / "chat_template.jinja"
    found = _text(path) if path.exists() else _read_object(folder / "tokenizer_config.json").get("chat_template")
    return found.strip() if isinstance(found, str) else ""


def _read_facts(folder: Path) -> TrainingFacts | None:
    path = folder / TRAINER_FACTS
    if not path.exists():
        return None
    found, fix = _read_object(path), "write the fields of docs/how-to/own-trainer.md, or leave the file out"
    for name, value in found.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise KitError(f"is {value}", where=f"{path}: {name}", fix=fix)
    try:
        return TrainingFacts.model_validate(found)
    except ValidationError as e:
        field = ".".join(str(part) for part in e.errors()[0]["loc"])
        raise KitError(first_message(e), where=f"{path}: {field}", fix=fix) from None


def _read_object(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file; {} if there is no file."""
    if not path.exists():
        return {}
    try:
        found = json.loads(_text(path))
    except (ValueError, RecursionError) as e:
        raise KitError(f"is not JSON: {e}", where=str(path), fix="write it with `save_pretrained`") from None
    if not isinstance(found, dict):
        raise KitError("is not a JSON object", where=str(path), fix="write it with `save_pretrained`")
    return found


def _text(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise KitError(f"is not a file of at most {_MOST_BYTES >> 20} MiB", where=str(path), fix="leave it out")
    return path.read_text(errors="replace")
