"""Package: merge the adapter into the base model and write both forms that servers load."""

import shutil
from pathlib import Path

from training.merge import merge
from training.openvino_form import export_openvino
from training.process import say


def package(base: Path, adapter: Path, target: Path) -> None:
    """Write safetensors, tokenizer, adapter and OpenVINO form of base plus adapter.

    Args:
        base: the base model's version.
        adapter: what `finetune` left.
        target: emptied first; the folder itself stays, as a platform may have mounted it.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in target.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    say(package="merge")
    merge(base, adapter, target)
    say(package="openvino")
    export_openvino(target)
