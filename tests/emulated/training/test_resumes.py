"""Fine-tuning that is killed at any moment ends with the same weights."""

import json
from pathlib import Path

import pytest

from tests.support.models import tiny_model
from tests.support.training import script_result, tiny_recipe, write_rows

RUNS = 20


@pytest.mark.scorecard("resume")
def test_20_runs_killed_at_random_end_with_equal_weights(tmp_path: Path) -> None:
    write_rows(tmp_path)
    # A checkpoint after every step, so that many a kill comes while one is written.
    tiny_recipe(epochs=3, precision="f32", checkpoint_steps=1).write(tmp_path / "recipe.json")
    script = Path(__file__).with_name("resumes.py")
    arguments = [str(tiny_model()), str(tmp_path / "rows.jsonl"), str(tmp_path / "recipe.json"), str(RUNS)]
    found = script_result(script, *arguments)
    print(json.dumps(found))
    assert [run["sha256"] for run in found["resumed"]] == [found["whole"]] * RUNS
    assert all(run["killed_in"] for run in found["resumed"])
    assert sum(run["from"].startswith("checkpoint-") for run in found["resumed"]) > RUNS / 2
