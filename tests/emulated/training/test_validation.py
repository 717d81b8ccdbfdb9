"""The validation loss is the loss of the weights that are kept, and a stop in between changes nothing."""

import json
import re
from pathlib import Path

import pytest

from tests.support.runs.training import PROGRAMS, kept_script_result, tiny_recipe, write_rows
from tests.support.tiny_models.models import tiny_model


def test_training_ends_early_with_the_weights_of_the_least_loss_and_resumes_to_the_same(tmp_path: Path) -> None:
    write_rows(tmp_path)
    cases = [{"learning_rate": 2e-2}, {"adapter": "none"}]
    # The document's own rule asks for a validation split; its rows are a file of their own here.
    text = [tiny_recipe(precision="f32", epochs=20, **case).to_json() for case in cases]
    text = [
        re.sub(r'"validation": 0\.0', '"validation": 0.1', t).replace('"patience": 0', '"patience": 3') for t in text
    ]
    (tmp_path / "recipes.json").write_text(json.dumps(text))
    files = (tmp_path / "rows.jsonl", tmp_path / "held-out.jsonl", tmp_path / "recipes.json")
    adapter, weights = kept_script_result(PROGRAMS / "validated.py", tiny_model(), *files)
    assert adapter["whole"]["validation_loss"] == pytest.approx(adapter["loss"], abs=2e-4)
    # They are kept in bf16: how much that may change a loss, models tell whose weights are rounded otherwise.
    most = max(abs(loss - weights["loss"]) for loss in weights["roundings"])
    assert weights["whole"]["validation_loss"] == pytest.approx(weights["loss"], abs=2 * most)
    for found in (adapter, weights):
        whole, resumed = found["whole"], found["resumed"]
        assert whole["best_step"] < whole["steps"] < 60
        assert found["equal"]
        assert found["same_without"]
        measured, again = found["validation"]
        assert again == measured
        assert [step for step, _ in measured] == list(range(1, whole["steps"] + 1))
        losses = {step: loss for step, loss in measured if loss is not None}
        assert round(losses[whole["best_step"]], 4) == whole["validation_loss"] == round(min(losses.values()), 4)
        assert [resumed[key] for key in ("steps", "best_step", "validation_loss", "last_loss")] == [
            whole[key] for key in ("steps", "best_step", "validation_loss", "last_loss")
        ]
