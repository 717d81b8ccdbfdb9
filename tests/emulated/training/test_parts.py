"""Batches trained in parts, or with activations computed twice, are the same batches."""

from pathlib import Path

import pytest

from tests.support.runs.training import PROGRAMS, kept_script_result, tiny_recipe, write_rows
from tests.support.tiny_models.models import tiny_model


def test_parts_and_gradient_checkpointing_change_no_loss(tmp_path: Path) -> None:
    write_rows(tmp_path)
    tiny_recipe(epochs=2, batch_size=4, precision="f32").write(tmp_path / "recipe.json")
    found = kept_script_result(PROGRAMS / "parts.py", tiny_model(), tmp_path / "rows.jsonl", tmp_path / "recipe.json")
    whole, parts = found["whole"], found["parts"]
    assert len(whole["losses"]) == 6
    assert [way["parts"] for way in found.values()] == [1, 2, 2, 1]
    assert parts["losses"] == pytest.approx(whole["losses"], rel=2e-6)
    assert parts["distance"] < 1e-5 * whole["size"]
    assert found["resumed"] == parts
    assert found["checkpointing"] == whole
