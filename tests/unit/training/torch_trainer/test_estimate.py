"""Which machines are asked whether a training fits on them."""

from pathlib import Path

import pytest
from transformers import LlamaConfig

from llmops_kit.core.documents.estimate import Estimate, EstimateRequest, MachineMemory, RowLengths
from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.training.torch_trainer.estimate import answer, estimate
from tests.support.tiny_models.families import SIZES

MACHINES = [MachineMemory(name=f"{size} MB", gpus=1, memory=size * 10**6, bf16=True) for size in (1, 1000, 2000)]


def test_machines_after_the_first_that_fits_can_be_left_out(tmp_path: Path) -> None:
    LlamaConfig(vocab_size=300, **SIZES).save_pretrained(tmp_path)
    request = EstimateRequest(training=TrainingRecipe(adapter="none", max_tokens=16), machines=MACHINES)
    found = estimate(tmp_path, request, until_one_fits=True).machines
    assert [(machine.name, machine.fits) for machine in found] == [("1 MB", False), ("1000 MB", True)]


def test_a_gguf_files_configuration_is_read_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the recipe's chat template, by which rows are counted."""
    file, template = tmp_path / "tiny.gguf", tmp_path / "tools.jinja"
    file.write_bytes(b"GGUF")
    template.write_text("with tools")

    def write(path: Path, target: Path) -> None:
        assert path == file
        LlamaConfig(vocab_size=300, **SIZES).save_pretrained(target)
        (target / "chat_template.jinja").write_text("its own")

    def count(folder: Path, *_: object) -> tuple[RowLengths, list[list[int]], None]:
        assert (folder / "chat_template.jinja").read_text() == "with tools"
        return RowLengths(counted=True, examples=1, longest=8, loss_bearing=4, tokens=8), [[8]], None

    monkeypatch.setattr("llmops_kit.training.torch_trainer.estimate.write_outline", write)
    monkeypatch.setattr("llmops_kit.training.torch_trainer.estimate._count", count)
    request = EstimateRequest(training=TrainingRecipe(adapter="none", max_tokens=16), machines=MACHINES[1:2])
    answer(file, request, tmp_path / "estimate.json", template)
    found = Estimate.model_validate_json((tmp_path / "estimate.json").read_text())
    assert [machine.fits for machine in found.machines] == [True]
