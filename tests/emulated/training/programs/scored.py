"""COMET models in one process: `python scored.py SOURCE RECORDED WORK`; prints JSON. Run by test_comet.py."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from llmops_kit.core.errors import KitError
from llmops_kit.training.evaluation.comet import CometModel, TranslationTriple
from llmops_kit.training.models.comet_checkpoint import CHECKPOINT, HPARAMS
from llmops_kit.training.models.importing import import_model


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def main(source: Path, recorded: Path, work: Path) -> None:
    found: dict[str, Any] = {}
    triples = [TranslationTriple(*each) for each in json.loads(recorded.read_text())["triples"]]
    planted = work / "unpickled"

    def state(change: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda kept: kept | {"state_dict": kept["state_dict"] | change}

    spoils: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "as it is": lambda kept: kept,
        "planted beside": lambda kept: kept | {"callbacks": Planted(planted)},
        "planted": state({"estimator.ff.0.bias": Planted(planted)}),
        "no tensor": state({"estimator.ff.0.bias": 1.0}),
        "unknown": state({"other.weight": torch.zeros(1)}),
        "shape": state({"estimator.ff.0.bias": torch.zeros(3)}),
        "settings": lambda kept: kept | {"hyper_parameters": {}},
        "activation": lambda kept: kept | {"hyper_parameters": kept["hyper_parameters"] | {"activations": "os"}},
    }
    original = torch.load(source / CHECKPOINT, weights_only=True)
    for name, spoil in spoils.items():
        folder = Path(shutil.copytree(source, work / name))
        torch.save(spoil(original), folder / CHECKPOINT)
        found[name] = _import(folder, work / f"{name}.out", triples)
    folder = Path(shutil.copytree(source, work / "old"))
    torch.save(original, folder / CHECKPOINT, _use_new_zipfile_serialization=False)
    found["old form"] = _import(folder, work / "old.out", triples)
    folder = Path(shutil.copytree(source, work / "patch"))
    hparams = json.loads((folder / HPARAMS).read_text()) | {"layer_transformation": "sparsemax_patch"}
    (folder / HPARAMS).write_text(json.dumps(hparams))
    found["patch"] = _import(folder, work / "patch.out", triples)
    found["form for CPUs"] = _import(source, work / "form.out", triples, openvino=True)
    found["unpickled"] = planted.exists()
    print(json.dumps(found))


def _import(source: Path, out: Path, triples: list[TranslationTriple], openvino: bool | None = None) -> Any:
    """Returns scores and the manifest's fields, or why it was refused."""
    from llmops_kit.core.documents.model import ModelManifest
    from llmops_kit.core.layout import MANIFEST

    try:
        import_model(source, out, name="comet-tiny", openvino=openvino)
    except KitError as e:
        return f"{e.what} | {e.fix}"
    manifest = ModelManifest.load(out / MANIFEST)
    assert manifest.comet
    scores = CometModel(out, manifest.comet, torch.device("cpu")).score(triples)
    return {"scores": scores, "manifest": manifest.model_dump(mode="json", by_alias=True)}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
