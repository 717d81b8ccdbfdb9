"""Training equals a loop written out, and the form that serves equals the form that was trained."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.models import base_model, tiny_model, training_python
from tests.support.training import tiny_recipe, write_rows

HERE = Path(__file__).parent


def run(script: str, *arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [training_python(), str(HERE / script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_losses_and_weights_equal_a_loop_written_out(tmp_path: Path) -> None:
    write_rows(tmp_path)
    # The last step ends an epoch and a checkpoint, so that its log holds every loss.
    tiny_recipe(precision="f32", warmup_steps=2).write(tmp_path / "recipe.json")
    found = run("oracle.py", tiny_model(), tmp_path / "rows.jsonl", tmp_path / "recipe.json")
    assert len(found["kit"]) == 12
    assert found["kit"] == pytest.approx(found["oracle"], abs=2e-5)
    assert found["moved"] > 1
    assert found["distance"] < 1e-3 * found["moved"]


@pytest.mark.parametrize("model", [tiny_model, base_model])
def test_both_forms_of_a_version_answer_with_the_same_tokens(model: Any) -> None:
    found = run("exactness.py", model(), 32)
    assert all(len(answer) > 3 for answer in found["transformers"])
    assert found["openvino"] == found["transformers"]
