"""Builds a version's weights from a base model and the trained part; adapters are merged one file after the other."""

import json
import shutil
from pathlib import Path
from typing import Any

from llmops_kit.core.errors import RunError
from llmops_kit.core.layout import EVALUATION, JUDGEMENTS, MANIFEST, METRICS, MODEL_CARD, SIGNATURE
from llmops_kit.training.checkpoints import MARKER
from llmops_kit.training.models.openvino_form import FOLDER

ADAPTER = "adapter"
"""Folder in a trained version of the adapter as saved by peft, beside the weights that it was merged into."""
_CONFIG = "adapter_config.json"  # peft's
_PREFIX = "base_model.model."  # of peft's names
_WEIGHTS = "*.safetensors"
# Files of a base model's version that are not copied; all others describe the merged model too.
_OF_THE_BASE = (MANIFEST, SIGNATURE, EVALUATION, JUDGEMENTS, METRICS, MODEL_CARD, ADAPTER, FOLDER, _WEIGHTS)


def merge(base: Path, adapter: Path, target: Path) -> None:
    """Writes base plus adapter, bf16, in the base's own files. Takes the memory of about one file and the adapter.

    Each sum is computed in f32 and rounded once.

    Args:
        base: a version in Hugging Face layout; its tokenizer and configuration are copied.
        adapter: what `finetune` left; copied to `adapter/`.
        target: an existing folder.

    Raises:
        RunError: a weight of the adapter is not in the base's files, or a sum is not finite.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    shutil.copytree(base, target, ignore=shutil.ignore_patterns(*_OF_THE_BASE), dirs_exist_ok=True)
    shutil.copytree(adapter, target / ADAPTER, ignore=shutil.ignore_patterns(MARKER, METRICS))
    deltas = _Deltas(adapter)
    for path in sorted(base.glob(_WEIGHTS)):
        with safe_open(path, framework="pt") as file:
            merged = {name: deltas.added_to(name, file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
            save_file(merged, target / path.name, file.metadata())
        del merged
    deltas.require_all_added()
    _open_to_readers(target)


def replace_weights(base: Path, trained: Path, target: Path) -> None:
    """Writes trained weights with the tokenizer and configuration of their base.

    Args:
        base: a version in Hugging Face layout.
        trained: files of weights that `finetune` left.
        target: an existing folder.
    """
    shutil.copytree(base, target, ignore=shutil.ignore_patterns(*_OF_THE_BASE, f"{_WEIGHTS}.*"), dirs_exist_ok=True)
    for path in trained.glob(f"{_WEIGHTS}*"):
        shutil.copyfile(path, target / path.name)
    _open_to_readers(target)


def take_weights(base: Path, trained: Path, target: Path) -> None:
    """Writes weights of another trainer, bf16, in the base's own files, with its tokenizer and configuration.

    Takes the memory of about two files.

    Args:
        base: a version in Hugging Face layout.
        trained: a folder that `check_trained` passed.
        target: an existing folder.

    Raises:
        RunError: a value is not finite, or all are the base's.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    from llmops_kit.training.models.own_trainer import tensor_files

    shutil.copytree(base, target, ignore=shutil.ignore_patterns(*_OF_THE_BASE), dirs_exist_ok=True)
    files = tensor_files(trained)
    changed = False
    for path in sorted(base.glob(_WEIGHTS)):
        with safe_open(path, framework="pt") as file:
            before = {name: file.get_tensor(name).to(torch.bfloat16) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        taken = {}
        for name, weight in before.items():
            with safe_open(files[name], framework="pt") as file:
                taken[name] = file.get_tensor(name).to(torch.bfloat16)
            changed = changed or not torch.equal(taken[name], weight)
            if not torch.isfinite(taken[name]).all():
                raise RunError(
                    "has values that are not finite after training",
                    where=f"{files[name]}: {name}",
                    fix="lower the trainer's learning rate, then train again",
                )
        save_file(taken, target / path.name, metadata)
        del before, taken
    if not changed:
        raise RunError(
            "has the base model's weights, rounded to bf16: nothing was learned",
            where=str(trained),
            fix="let the trainer save the model that it trained, or raise its learning rate or number of steps",
        )
    _open_to_readers(target)


def is_adapter(trained: Path) -> bool:
    """Returns whether `finetune` left an adapter, and not a model's own weights."""
    return (trained / _CONFIG).exists()


def _open_to_readers(folder: Path) -> None:
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


class _Deltas:
    """The changes that an adapter makes to each weight."""

    def __init__(self, adapter: Path) -> None:
        from safetensors.torch import load_file

        config = json.loads((adapter / _CONFIG).read_text())
        self._adapter = adapter
        self._scale: float = config["lora_alpha"] / config["r"]
        self._transposed: bool = config["fan_in_fan_out"]
        self._tensors = load_file(adapter / "adapter_model.safetensors")

    def added_to(self, name: str, weight: Any) -> Any:
        """Returns a weight of the base with its delta, in bf16."""
        import torch

        module = f"{_PREFIX}{name.removesuffix('.weight')}"
        low, high = f"{module}.lora_A.weight", f"{module}.lora_B.weight"
        if low in self._tensors and high in self._tensors:
            delta = self._tensors.pop(high).float() @ self._tensors.pop(low).float()
            weight = weight.float() + (delta.T if self._transposed else delta) * self._scale
            if not torch.isfinite(weight).all():
                raise RunError(
                    "has values that are not finite once the adapter is added",
                    where=name,
                    fix="lower training.learning_rate, then train again",
                )
        return weight.to(torch.bfloat16) if weight.is_floating_point() else weight

    def require_all_added(self) -> None:
        """Refuses an adapter of another model than the base."""
        if left := sorted(self._tensors):
            raise RunError(
                f"{len(left)} of its tensors belong to no weight of the base model, such as {left[0]}",
                where=str(self._adapter),
                fix="take a base model that transformers stores under its modules' own names, such as a Llama or Qwen",
            )
