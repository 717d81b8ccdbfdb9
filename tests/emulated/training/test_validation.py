"""The validation loss is the loss of the weights that are kept, and a stop in between changes nothing."""

import re
from pathlib import Path

import pytest

from tests.support.models import tiny_model
from tests.support.training import script_result, tiny_recipe, write_rows


def test_training_ends_early_with_the_weights_of_the_least_loss_and_resumes_to_the_same(tmp_path: Path) -> None:
    write_rows(tmp_path)
    recipe = tiny_recipe(precision="f32", epochs=20, learning_rate=2e-2)
    training = recipe.training.model_copy(update={"patience": 3})  # its rows are a file of their own here
    recipe.model_copy(update={"training": training}).write(tmp_path / "recipe.json")
    # The document's own rule asks for a validation split.
    text = (tmp_path / "recipe.json").read_text()
    (tmp_path / "recipe.json").write_text(re.sub(r'"validation": 0\.0', '"validation": 0.1', text))
    files = (tmp_path / "rows.jsonl", tmp_path / "held-out.jsonl", tmp_path / "recipe.json")
    found = script_result(Path(__file__).with_name("validated.py"), tiny_model(), *files)
    whole, resumed = found["whole"], found["resumed"]
    assert whole["best_step"] < whole["steps"] < 60
    assert whole["validation_loss"] == pytest.approx(found["loss"], abs=2e-4)
    assert found["equal"]
    assert [resumed[key] for key in ("steps", "best_step", "validation_loss", "last_loss")] == [
        whole[key] for key in ("steps", "best_step", "validation_loss", "last_loss")
    ]
