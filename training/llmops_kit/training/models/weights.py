"""A model's Hugging Face form: loads and saves safetensors, tokenizer and configuration."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmops_kit.core.errors import KitError, RunError

# bf16 halves the size of a version, and OpenVINO computes with it in f32 as exactly as transformers does.
STORED_DTYPE = "BF16"
WEIGHTS = "model*.safetensors"
"""Pattern of weight files in a version's folder; with `*`, also the index of several files."""
SHARD_SIZE = "5GB"
"""Maximum size of a file of weights; a larger model has several, and model.safetensors.index.json."""


def load_model(folder: Path, dtype: Any = None, **quantized: Any) -> Any:
    """Loads a causal language model from safetensors alone, without code of the folder's. Attention is torch's own
    (`sdpa`) where the architecture can use it, and transformers' (`eager`) otherwise, as for Gemma 2.

    Args:
        folder: Hugging Face layout.
        dtype: torch dtype to compute in; None: f32.
        quantized: options of transformers: `quantization_config`, and `device_map`, which it needs.

    Returns:
        A transformers model in evaluation mode.

    Raises:
        KitError: the files lack tensors of the architecture, or have others.
    """
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, folder, dtype, **quantized)


def load_token_classifier(folder: Path) -> Any:
    """Loads a model that labels tokens, in f32; otherwise as `load_model`."""
    from transformers import AutoModelForTokenClassification

    return _load(AutoModelForTokenClassification, folder, None)


def is_token_classifier(folder: Path) -> bool:
    """Returns whether a folder's config.json is that of a model that labels tokens."""
    kinds = json.loads((folder / "config.json").read_text()).get("architectures") or []
    return any(str(kind).endswith("ForTokenClassification") for kind in kinds)


def _load(auto: Any, folder: Path, dtype: Any, **options: Any) -> Any:
    import torch

    model, loading = auto.from_pretrained(
        folder,
        dtype=dtype or torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # `require_complete` refuses them, by name
        **options,
    )
    require_complete(loading, folder)
    return model.eval()


def require_complete(loading: Mapping[str, Any], source: Path) -> None:
    """Checks that a model loaded all of its weights from its files, and everything that its files contain.

    A missing weight would be random, and transformers only warns of it. Tied weights are not missing.

    Args:
        loading: transformers' `output_loading_info`.
        source: the model's file or folder.

    Raises:
        KitError: naming a few tensors.
    """
    found = {
        "lacks": sorted(loading["missing_keys"]),
        "has unknown": sorted(loading["unexpected_keys"]),
        "has in another shape": sorted(
            f"{name} {list(there)}, not {list(wanted)}" for name, there, wanted in loading["mismatched_keys"]
        ),
    }
    if reasons := [f"{verb} {_a_few(names)}" for verb, names in found.items() if names]:
        raise KitError(
            f"its weights are not those of its config.json: it {'; '.join(reasons)}",
            where=str(source),
            fix="fetch the model again, with all of its safetensors files; a config.json of another revision "
            "describes other weights",
        )


def load_tokenizer(folder: Path) -> Any:
    """Returns the folder's fast tokenizer, which pads on the left when it pads at all."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if tokenizer.pad_token is None:
        # Padding is masked everywhere, so any token works.
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes config, bf16 safetensors, generation settings and tokenizer; the same weights give the same bytes."""
    import torch

    model = model.to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    model.config.use_cache = True
    save_folder(model, tokenizer, folder)


def save_folder(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes a model's Hugging Face folder, in the model's dtype; the same weights give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, safe_serialization=True, max_shard_size=SHARD_SIZE)
    tokenizer.save_pretrained(folder)
    forget_paths(folder)
    for path in folder.iterdir():
        path.chmod(0o644)


def save_weights(model: Any, weights: Mapping[str, Any], folder: Path) -> None:
    """Writes a model's weights alone, bf16, in safetensors files; the same weights give the same bytes.

    Args:
        model: a model of the architecture.
        weights: all of its parameters by name, each once; on the processor.
        folder: an existing folder.

    Raises:
        RunError: a value is not finite.
    """
    import torch

    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise RunError(
                "has values that are not finite after training",
                where=name,
                fix="lower training.learning_rate, then train again",
            )
    narrow = {name: weight.to(torch.bfloat16) for name, weight in weights.items()}
    model.save_pretrained(folder, state_dict=narrow, max_shard_size=SHARD_SIZE)
    for path in set(folder.iterdir()) - set(folder.glob(f"{WEIGHTS}*")):
        path.unlink()


def count_parameters(folder: Path) -> int:
    """Returns the number of weights in the folder's safetensors, from their headers
    (https://huggingface.co/docs/safetensors/index#format).
    """
    count = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        count += sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return count


def stop_tokens(folder: Path) -> list[int]:
    """Returns the ids that end an answer."""
    path = folder / "generation_config.json"
    found = json.loads(path.read_text()).get("eos_token_id") if path.exists() else None
    if found is None:
        found = json.loads((folder / "config.json").read_text()).get("eos_token_id")
    return [found] if isinstance(found, int) else list(found or [])


def forget_paths(folder: Path) -> None:
    """Removes the folder that the model was loaded from, which would make equal versions differ."""
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        if not path.exists():
            continue
        data = json.loads(path.read_text())
        for key in ("_name_or_path", "name_or_path", "is_local", "local_files_only"):
            data.pop(key, None)
        path.write_text(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _a_few(names: Sequence[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{rest}"
