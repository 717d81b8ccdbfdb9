"""The guard against divergence knows the losses before a checkpoint."""

import json
import os
import subprocess
from pathlib import Path

from tests.support.checkout import CHECKOUT
from tests.support.models import tiny_model, training_python
from tests.support.training import tiny_recipe, write_rows


def test_a_resumed_run_is_guarded_by_the_losses_before(tmp_path: Path) -> None:
    write_rows(tmp_path)
    tiny_recipe(epochs=3).write(tmp_path / "recipe.json")
    script = Path(__file__).with_name("guarded.py")
    done = subprocess.run(
        [training_python(), script, tiny_model(), tmp_path / "rows.jsonl", tmp_path / "recipe.json"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "resume=checkpoint-5" in done.stdout.splitlines()
    assert json.loads(done.stdout.splitlines()[-1]) == [[step, step - 1] for step in range(1, 10)]
