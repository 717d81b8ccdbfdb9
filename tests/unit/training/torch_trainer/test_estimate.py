"""Which machines are asked whether a training fits on them."""

from pathlib import Path

from transformers import LlamaConfig

from llmops_kit.core.documents.estimate import EstimateRequest, MachineMemory
from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.training.torch_trainer.estimate import estimate
from tests.support.tiny_models.families import SIZES

MACHINES = [MachineMemory(name=f"{size} MB", gpus=1, memory=size * 10**6, bf16=True) for size in (1, 1000, 2000)]


def test_machines_after_the_first_that_fits_can_be_left_out(tmp_path: Path) -> None:
    LlamaConfig(vocab_size=300, **SIZES).save_pretrained(tmp_path)
    request = EstimateRequest(training=TrainingRecipe(adapter="none", max_tokens=16), machines=MACHINES)
    found = estimate(tmp_path, request, until_one_fits=True).machines
    assert [(machine.name, machine.fits) for machine in found] == [("1 MB", False), ("1000 MB", True)]
