"""The guard against divergence knows the losses before a checkpoint."""

import json
from pathlib import Path

from tests.support.runs.training import PROGRAMS, run_script, tiny_recipe, write_rows
from tests.support.tiny_models.models import tiny_model


def test_a_resumed_run_is_guarded_by_the_losses_before(tmp_path: Path) -> None:
    write_rows(tmp_path)
    tiny_recipe(epochs=3).write(tmp_path / "recipe.json")
    script = PROGRAMS / "guarded.py"
    lines = run_script(script, tiny_model(), tmp_path / "rows.jsonl", tmp_path / "recipe.json")
    assert "resume=checkpoint-5" in lines
    assert json.loads(lines[-1]) == [[step, step - 1] for step in range(1, 10)]
