"""A model's weights are all there, or it is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from contract.errors import KitError
from tests.support import tiny
from training.weights import load_model

WEIGHTS = "model.safetensors"
TENSOR = "model.layers.1.mlp.up_proj.weight"
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A Hugging Face folder."""
    tiny.make(tmp_path / "model")
    return tmp_path / "model"


def change(model: Path, spoil: Callable[[Tensors], object]) -> None:
    tensors = load_file(model / WEIGHTS)
    spoil(tensors)
    save_file(tensors, model / WEIGHTS, {"format": "pt"})


def _add(tensors: Tensors) -> None:
    tensors["model.extra.weight"] = torch.zeros(2)


def _reshape(tensors: Tensors) -> None:
    tensors[TENSOR] = tensors[TENSOR][:-1].contiguous()


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda tensors: tensors.pop(TENSOR), TENSOR),
        (lambda tensors: tensors.pop("lm_head.weight"), "lm_head.weight"),
        (_add, "model.extra.weight"),
        (_reshape, f"{TENSOR} [127, 64], not [128, 64]"),
    ],
    ids=["missing", "missing head", "unknown", "other shape"],
)
def test_other_weights_than_the_configurations_are_refused(
    model: Path, spoil: Callable[[Tensors], object], named: str
) -> None:
    change(model, spoil)
    with pytest.raises(KitError) as caught:
        load_model(model)
    assert caught.value.where == str(model)
    assert named in caught.value.what
    assert caught.value.fix


def test_of_many_a_few_are_named(model: Path) -> None:
    change(model, lambda tensors: [tensors.pop(name) for name in list(tensors) if ".layers." in name])
    with pytest.raises(KitError) as caught:
        load_model(model)
    assert caught.value.what.count("model.layers.") == 3
    assert "and 15 more" in caught.value.what


def test_tied_weights_are_not_missing(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    change(model, lambda tensors: tensors.pop("lm_head.weight"))
    loaded = load_model(model)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
