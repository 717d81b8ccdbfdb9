"""One model at a time is in memory."""

import weakref
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.core.layout import MANIFEST
from llmops_kit.training import job
from llmops_kit.training.ranks import Alone
from llmops_kit.training.stopping import StopRequest
from llmops_kit.training.torch_trainer import finetune
from tests.support.runs.training import make_container, tiny_recipe, write_rows
from tests.support.tiny_models import tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),  # peft asks for it
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled"),  # as it is for one process
]


class LoadedError(Exception):
    """The model to evaluate would be loaded now."""


def test_the_trained_model_is_gone_before_another_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16, where accelerate puts a trained model into a circle of references."""
    base = tmp_path / "base"
    tiny.make(base)
    (base / MANIFEST).write_text("{}")
    write_rows(tmp_path / "data")
    recipe = tiny_recipe(epochs=None, max_steps=1, precision="bf16")
    folders = make_container(tmp_path / "root", base, recipe, tmp_path / "data")
    weights: list[weakref.ref[Any]] = []
    make_trainer = finetune._make_trainer

    def noted(*arguments: Any) -> Any:
        trainer = make_trainer(*arguments)
        weights.extend(weakref.ref(weight) for weight in trainer.model.parameters())
        return trainer

    def load_model(*_: Any) -> None:
        raise LoadedError(sum(weight() is not None for weight in weights))

    monkeypatch.setattr(finetune, "_make_trainer", noted)
    monkeypatch.setattr(job, "load_model", load_model)
    training = job.TrainingJob(folders, Alone(), StopRequest())
    training._train()
    assert weights
    with pytest.raises(LoadedError, match=r"^0$"):
        training._evaluate("after")
