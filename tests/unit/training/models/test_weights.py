"""A model's weights are all there, or it is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmops_kit.core.errors import KitError
from llmops_kit.training.models import weights
from llmops_kit.training.models.merge import replace_weights
from llmops_kit.training.models.openvino_form import MOST_PARAMETERS, is_wanted
from llmops_kit.training.models.weights import count_parameters, load_model, save_weights
from tests.support.tiny_models import tiny

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


def test_trained_weights_are_packaged_in_files_of_a_bounded_size(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SHARD_SIZE", "100KB")
    trained, version, loaded = tmp_path / "trained", tmp_path / "version", load_model(model)
    trained.mkdir()
    save_weights(loaded, {name: weight + 1 for name, weight in loaded.named_parameters()}, trained)
    version.mkdir()
    replace_weights(model, trained, version)
    shards = sorted(path.name for path in version.glob("*.safetensors"))
    assert len(shards) >= 2
    assert set(json.loads((version / f"{WEIGHTS}.index.json").read_text())["weight_map"].values()) == set(shards)
    assert WEIGHTS not in shards
    assert all((version / name).stat().st_size < 120_000 for name in shards)
    again = load_model(version).state_dict()
    for name, weight in loaded.named_parameters():
        assert torch.equal(again[name], (weight + 1).bfloat16().float())
    assert count_parameters(version) == count_parameters(model) == loaded.num_parameters()


def test_a_large_version_gets_openvinos_form_when_asked_alone(model: Path) -> None:
    assert is_wanted(None, model)
    assert not is_wanted(False, model)
    header = json.dumps({"a": {"dtype": "BF16", "shape": [1000, MOST_PARAMETERS // 1000], "data_offsets": [0, 0]}})
    (model / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header.encode())
    assert not is_wanted(None, model)
    assert is_wanted(True, model)


def test_an_architecture_that_has_no_openvino_form_goes_without_unless_it_is_asked_for(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"model_type": "gemma2"}))
    assert not is_wanted(None, model)
    assert is_wanted(True, model)
