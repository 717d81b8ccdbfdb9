"""What a merged version has, and adapters that can't be merged."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmops_kit.core.errors import RunError
from llmops_kit.training.models.merge import merge, replace_weights, take_weights

LAYER = "model.layers.0.q.weight"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A trained version in two files."""
    folder = tmp_path / "base"
    (folder / "openvino").mkdir(parents=True)
    (folder / "adapter").mkdir()
    for name in (
        "manifest.json",
        "manifest.json.sig",
        "evaluation.json",
        "metrics.jsonl",
        "README.md",
        "openvino/m.xml",
        "adapter/old.safetensors",
    ):
        (folder / name).touch()
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates/tools.jinja").write_text("{{ tools }}")
    (folder / "model.safetensors.index.json").write_text("{}")
    save_file({LAYER: torch.ones(4, 3).bfloat16()}, folder / "model-00001-of-00002.safetensors", {"format": "pt"})
    save_file({"norm": torch.ones(3)}, folder / "model-00002-of-00002.safetensors", {"format": "pt"})
    return folder


def make_adapter(folder: Path, layer: str = LAYER, high: float = 1.0, transposed: bool = False) -> Path:
    folder.mkdir()
    config = {"lora_alpha": 8, "r": 2, "fan_in_fan_out": transposed}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    module = f"base_model.model.{layer.removesuffix('.weight')}"
    wide, tall = (4, 3) if transposed else (3, 4)
    tensors = {
        f"{module}.lora_A.weight": torch.arange(2.0 * wide).reshape(2, wide),
        f"{module}.lora_B.weight": torch.full((tall, 2), high),
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize("transposed", [False, True])
def test_each_file_gets_its_deltas_and_nothing_of_the_bases_own(base: Path, tmp_path: Path, transposed: bool) -> None:
    adapter = make_adapter(tmp_path / "new", transposed=transposed)
    (tmp_path / "target").mkdir()
    merge(base, adapter, tmp_path / "target")
    files = {p.relative_to(tmp_path / "target").as_posix() for p in (tmp_path / "target").rglob("*") if p.is_file()}
    assert files == {
        "additional_chat_templates/tools.jinja",
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    }
    merged = load_file(tmp_path / "target/model-00001-of-00002.safetensors")[LAYER]
    column_sums = [4, 6, 8, 10] if transposed else [3, 5, 7]
    expected = torch.tensor([[1 + 4 * n for n in column_sums]] * (3 if transposed else 4))
    assert merged.float().tolist() == (expected.T if transposed else expected).tolist()
    assert load_file(tmp_path / "target/model-00002-of-00002.safetensors")["norm"].dtype == torch.bfloat16


def test_an_adapter_of_another_model_is_refused(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "new", "model.layers.1.q.weight")
    (tmp_path / "target").mkdir()
    with pytest.raises(RunError) as caught:
        merge(base, adapter, tmp_path / "target")
    assert caught.value.where == str(adapter)
    assert "model.layers.1.q.lora_A" in caught.value.what


def test_sums_that_are_not_finite_are_refused(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "new", high=float("inf"))
    (tmp_path / "target").mkdir()
    with pytest.raises(RunError) as caught:
        merge(base, adapter, tmp_path / "target")
    assert caught.value.where == LAYER


def test_trained_weights_replace_all_files_of_the_bases(base: Path, tmp_path: Path) -> None:
    (tmp_path / "trained").mkdir()
    save_file({LAYER: torch.zeros(4, 3).bfloat16()}, tmp_path / "trained/model.safetensors", {"format": "pt"})
    (tmp_path / "version").mkdir()
    replace_weights(base, tmp_path / "trained", tmp_path / "version")
    found = {path.relative_to(tmp_path / "version").as_posix() for path in (tmp_path / "version").rglob("*.*")}
    assert found == {"model.safetensors", "additional_chat_templates/tools.jinja"}


def test_weights_of_another_trainer_that_are_the_bases_are_refused(base: Path, tmp_path: Path) -> None:
    weights = {LAYER: torch.ones(4, 3), "norm": torch.ones(3)}
    for name, changed in (("same", {}), ("learned", {"norm": torch.full((3,), 1.5)})):
        (tmp_path / name).mkdir()
        save_file(weights | changed, tmp_path / name / "model.safetensors", {"format": "pt"})
        (tmp_path / f"{name}-version").mkdir()
    with pytest.raises(RunError, match="nothing was learned") as caught:
        take_weights(base, tmp_path / "same", tmp_path / "same-version")
    assert caught.value.where == str(tmp_path / "same")
    take_weights(base, tmp_path / "learned", tmp_path / "learned-version")
    written = load_file(tmp_path / "learned-version/model-00002-of-00002.safetensors")
    assert written["norm"].tolist() == [1.5] * 3
