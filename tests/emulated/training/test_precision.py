"""A version is evaluated in the precision that it was trained in, and its golden prompts in the other one too."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from contract.documents.recipe import MIN_GATE_GROUPS
from tests.support.checkout import CHECKOUT
from tests.support.models import tiny_model, training_python
from tests.support.training import make_container, tiny_recipe, write_rows

DTYPES = {"bf16": "torch.bfloat16", "f32": "torch.float32"}


@pytest.mark.parametrize(("trained", "other"), [("bf16", "f32"), ("f32", "bf16")])
def test_golden_prompts_are_asked_in_both_precisions(trained: str, other: str, tmp_path: Path) -> None:
    write_rows(tmp_path / "data")
    make_container(tmp_path / "root", tiny_model(), tiny_recipe(precision=trained), tmp_path / "data")
    done = subprocess.run(
        [training_python(), str(Path(__file__).with_name("asked.py")), str(tmp_path / "root")],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"computed": [DTYPES[trained], DTYPES[other]], "golden": MIN_GATE_GROUPS}
