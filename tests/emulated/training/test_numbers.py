"""Training equals a loop written out, and the form that serves equals the form that was trained."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.models import base_model, tiny_model
from tests.support.training import script_result, tiny_recipe, write_rows

HERE = Path(__file__).parent


def test_losses_and_weights_equal_a_loop_written_out(tmp_path: Path) -> None:
    write_rows(tmp_path)
    # The last step ends an epoch and a checkpoint, so that its log holds every loss.
    tiny_recipe(precision="f32", warmup_steps=2).write(tmp_path / "recipe.json")
    found = script_result(HERE / "oracle.py", tiny_model(), tmp_path / "rows.jsonl", tmp_path / "recipe.json")
    assert len(found["kit"]) == 12
    assert found["kit"] == pytest.approx(found["oracle"], abs=2e-5)
    assert found["moved"] > 1
    assert found["distance"] < 1e-3 * found["moved"]


@pytest.mark.parametrize("model", [tiny_model, base_model])
def test_both_forms_of_a_version_answer_with_the_same_tokens(model: Any) -> None:
    found = script_result(HERE / "exactness.py", model(), 32)
    assert all(len(answer) > 3 for answer in found["transformers"])
    assert found["openvino"] == found["transformers"]
