"""Merge an adapter by the kit, and by peft in f32. Prints JSON; run in the training image.

python merged.py VERSION SHARD_SIZE
    -> {"kit": {file: sha256}, "peft": {file: sha256}, "adapter": [{file: sha256} of the kit's copy, of the original]}
"""

import json
import sys
import tempfile
from pathlib import Path

from llmops_kit.training.process import prepare_process

prepare_process()

import torch  # noqa: E402
from peft import LoraConfig, PeftModel, get_peft_model  # noqa: E402

from llmops_kit.core.hashes import sha256_file  # noqa: E402
from llmops_kit.core.integrity.digest import file_entries  # noqa: E402
from llmops_kit.training.models import weights  # noqa: E402
from llmops_kit.training.models.merge import merge  # noqa: E402
from llmops_kit.training.models.weights import load_model, load_tokenizer, save_model  # noqa: E402


def make_adapter(base: Path, folder: Path) -> None:
    """An adapter that changes every linear layer."""
    torch.manual_seed(0)
    model = get_peft_model(
        load_model(base), LoraConfig(r=16, lora_alpha=40, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    model.save_pretrained(str(folder))


def hashes(folder: Path) -> dict[str, str]:
    """Of the files directly in a folder."""
    return {path.name: sha256_file(path) for path in folder.iterdir() if path.is_file()}


def main(version: Path, shard_size: str) -> None:
    """Merge both ways, from a base with files of at most a size."""
    weights.SHARD_SIZE = shard_size
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        base, kit, peft = (work / each for each in ("base", "kit", "peft"))
        save_model(load_model(version), load_tokenizer(version), base)
        (base / "openvino").mkdir()
        (base / "evaluation.json").touch()
        make_adapter(base, work / "adapter")
        kit.mkdir()
        merge(base, work / "adapter", kit)
        whole = PeftModel.from_pretrained(load_model(base), work / "adapter").merge_and_unload(safe_merge=True)
        save_model(whole, load_tokenizer(base), peft)
        adapter = {path: entry.sha256 for path, entry in file_entries(kit / "adapter").items()}
        assert [path.name for path in kit.iterdir() if path.is_dir()] == ["adapter"]
        assert sha256_file(base / "config.json") == sha256_file(kit / "config.json")
        print(json.dumps({"kit": hashes(kit), "peft": hashes(peft), "adapter": [adapter, hashes(work / "adapter")]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
