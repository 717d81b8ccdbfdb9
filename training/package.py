"""Package: merge the adapter into the base model and write both forms that servers load."""

import shutil
from pathlib import Path

from training.openvino_form import export_openvino
from training.process import say
from training.weights import load_model, load_tokenizer, save_model


def package(base: Path, adapter: Path, target: Path) -> None:
    """Write safetensors, tokenizer and OpenVINO form of base plus adapter.

    Args:
        base: the base model's version.
        adapter: what `finetune` left.
        target: emptied first; the folder itself stays, as a platform may have mounted it.
    """
    from peft import PeftModel

    target.mkdir(parents=True, exist_ok=True)
    for path in target.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    say(package="merge")
    # In f32, so that weights are rounded once.
    merged = PeftModel.from_pretrained(load_model(base), adapter).merge_and_unload(safe_merge=True)
    save_model(merged, load_tokenizer(base), target)
    del merged
    say(package="openvino")
    export_openvino(target)
