"""Fine-tuning that is killed at any moment ends with the same weights."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs.training import PROGRAMS, script_result, tiny_recipe, write_rows
from tests.support.tiny_models.models import tiny_model

CASES: list[dict[str, Any]] = [
    {},
    {"adapter": "none", "method": "pretrain", "packing": True, "schedule": "cosine"},
    {"adapter": "qlora"},
    {"method": "dpo"},
    {"adapter": "none", "method": "dpo"},
]


@pytest.mark.scorecard("resume")
@pytest.mark.parametrize(
    "runs",
    [
        len(CASES) + 1,
        pytest.param(
            20,
            marks=pytest.mark.long(
                "tests/emulated/training/test_resumes.py::test_runs_killed_at_random_end_with_equal_weights[6]"
            ),
        ),
    ],
)
def test_runs_killed_at_random_end_with_equal_weights(tmp_path: Path, runs: int) -> None:
    write_rows(tmp_path)
    # A checkpoint after every step, so that many a kill comes while one is written.
    recipes = [tiny_recipe(epochs=3, precision="f32", checkpoint_steps=1, **case).to_json() for case in CASES]
    (tmp_path / "recipes.json").write_text(json.dumps(recipes))
    script = PROGRAMS / "resumes.py"
    found = script_result(script, tiny_model(), tmp_path, tmp_path / "recipes.json", runs)
    print(json.dumps(found))
    assert len(found["resumed"]) == runs
    assert [run["sha256"] for run in found["resumed"]] == [found["whole"][run["recipe"]] for run in found["resumed"]]
    assert all(run["killed_in"] for run in found["resumed"])
    assert sum(run["from"].startswith("checkpoint-") for run in found["resumed"]) > runs / 3
