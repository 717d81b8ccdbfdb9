"""A version is evaluated in the precision that it was trained in, and its golden prompts in the other one too."""

from pathlib import Path

import pytest

from llmops_kit.core.documents.recipe_evaluation import MIN_GATE_GROUPS
from tests.support.runs.training import PROGRAMS, kept_script_result, make_container, tiny_recipe, write_rows
from tests.support.tiny_models.models import tiny_model

DTYPES = {"bf16": "torch.bfloat16", "f32": "torch.float32"}


@pytest.mark.parametrize(("trained", "other"), [("bf16", "f32"), ("f32", "bf16")])
def test_golden_prompts_are_asked_in_both_precisions(trained: str, other: str, tmp_path: Path) -> None:
    write_rows(tmp_path / "data")
    make_container(tmp_path / "root", tiny_model(), tiny_recipe(precision=trained), tmp_path / "data")
    found = kept_script_result(PROGRAMS / "asked.py", tmp_path / "root")
    assert found == {"computed": [DTYPES[trained], DTYPES[other]], "golden": MIN_GATE_GROUPS}
