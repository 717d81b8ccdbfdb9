"""QLoRA trains beside weights of 4 bits; its adapter is merged into the original ones."""

from pathlib import Path

from tests.support.runs.training import PROGRAMS, kept_script_result, tiny_recipe, write_rows
from tests.support.tiny_models.models import tiny_model


def test_an_adapter_beside_4_bit_weights_improves_the_original_ones(tmp_path: Path) -> None:
    write_rows(tmp_path)
    tiny_recipe(adapter="qlora", precision="bf16").write(tmp_path / "recipe.json")
    script = PROGRAMS / "quantized.py"
    found = kept_script_result(script, tiny_model(), tmp_path / "rows.jsonl", tmp_path / "recipe.json")
    assert (found["linear"], found["head"]) == (["Linear4bit"], "Linear")
    assert found["frozen"] == ["torch.bfloat16", "torch.uint8"]
    assert found["trained"] == ["torch.float32"]
    assert found["learns"]
    first, last = found["losses"]
    before, after = found["versions"]
    assert last < first - 1
    assert after < before - 1
