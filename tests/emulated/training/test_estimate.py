"""What is said of a training before it starts, beside what real steps take."""

from typing import Any

import pytest

from llmops_kit.core.documents.recipe import Recipe
from tests.support.checkout import CHECKOUT
from tests.support.runs.training import PROGRAMS, kept_script_result, write_rows
from tests.support.tiny_models.models import base_model, tiny_source


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder)
    script = PROGRAMS / "measured.py"
    return kept_script_result(script, base_model(), CHECKOUT / "tests" / "data", tiny_source(), folder / "rows.jsonl")


def test_peaks_of_real_steps_are_foreseen(found: Any) -> None:
    """Of three sizes, all within 15 %."""
    assert len(found["small"]) == 4
    assert not [case for case in found["small"] if not 0.85 <= case["ratio"] <= 1.15]


def test_few_layers_and_two_sizes_of_batches_tell_all(found: Any) -> None:
    for shortened, whole in found["shortcuts"]["depth"]:
        assert shortened == whole
    assert not [ratio for ratio in found["shortcuts"]["rows"] if not 0.94 <= ratio <= 1.03]


def test_three_parts_of_the_logits_take_what_all_take(found: Any) -> None:
    three, all_of_them = found["shortcuts"]["parts"]
    assert three == all_of_them


def test_only_packed_rows_pay_for_a_mask(found: Any) -> None:
    without, masked = found["shortcuts"]["masks"]
    assert without < masked


def test_packed_rows_are_counted_as_they_are_laid_out(found: Any) -> None:
    apart, apart_gpu, packed, packed_gpu = found["layouts"]
    assert apart["padding"] == apart_gpu["padding"] > 1.2
    assert packed["padding"] < 1  # what rows begin with is computed once
    assert 1 <= packed_gpu["padding"] < apart_gpu["padding"]
    assert packed["total"] < apart["total"]
    assert packed_gpu["total"] < apart_gpu["total"]


def test_8b_models_fit_where_they_should(found: Any) -> None:
    lora, full = (found["large"][f"llama-3.1-8b {adapter}"] for adapter in ("lora", "none"))
    assert lora["parameters"] == 8_030_261_248
    # One A10G takes bf16 only if activations are computed twice; an A100 takes it as it is.
    assert (lora["A10G"]["fits"], lora["A10G"]["checkpointing"]) == (True, True)
    assert lora["A10G"]["flops_per_token"] > lora["H100"]["flops_per_token"]
    assert (lora["A100-40"]["fits"], lora["A100-40"]["checkpointing"]) == (True, False)
    assert lora["A100-40"]["accumulation"] * lora["A100-40"]["micro_batch"] == 16
    assert lora["A100-40"]["micro_batch"] <= lora["H100"]["micro_batch"]
    assert lora["8xA10G"]["sharded"]
    assert not lora["8xA100-40"]["sharded"]
    assert lora["8xA10G"]["peak"]["weights"] == lora["A10G"]["peak"]["weights"] // 8
    # All weights take 16 bytes each: no single GPU, and not eight small ones; eight of 40 GB in shards.
    assert [full[name]["fits"] for name in ("8xA10G", "8xA100-40", "H100")] == [False, True, False]
    assert full["8xA100-40"]["sharded"]
    assert "GiB" in full["H100"]["reason"]


def test_the_kits_recipes_for_gpus_fit_on_those_that_they_name(found: Any) -> None:
    one, eight, a100, h100 = (
        found["large"][name] for name in ("assistant-8b", "llama-8b-8xa10g", "qwen-7b-a100", "qwen-7b-h100")
    )
    assert one["A10G"]["fits"]
    assert (eight["8xA10G"]["fits"], eight["8xA10G"]["sharded"]) == (True, True)
    assert (a100["parameters"], a100["A100-40"]["fits"]) == (7_615_616_512, True)
    assert h100["H100"]["fits"]
    assert [each for each in ("llama-8b-a10g", "translation-8b") if not trains_shorter_rows(each, "assistant-8b")] == []
    smaller = (eight["A10G"], a100["A10G"], h100["A100-40"])
    assert [fit["checkpointing"] or not fit["fits"] for fit in smaller] == [True] * 3


def trains_shorter_rows(recipe: str, other: str) -> bool:
    """Returns whether two recipes train one base model with equal options, the first one on shorter rows."""
    first, second = (Recipe.load(CHECKOUT / f"recipes/{name}.yaml") for name in (recipe, other))
    aside = {"max_tokens": 0, "translations": []}
    alike = first.training.model_copy(update=aside) == second.training.model_copy(update=aside)
    return alike and first.base_model == second.base_model and first.training.max_tokens < second.training.max_tokens
