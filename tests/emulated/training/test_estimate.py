"""What is said of a training before it starts, beside what real steps take."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.models import base_model
from tests.support.training import script_result


@pytest.fixture(scope="module")
def found() -> Any:
    script = Path(__file__).with_name("measured.py")
    return script_result(script, base_model(), CHECKOUT / "tests" / "data")


def test_peaks_of_real_steps_are_foreseen(found: Any) -> None:
    """Of three sizes, all within 15 %."""
    assert len(found["small"]) == 4
    assert not [case for case in found["small"] if not 0.85 <= case["ratio"] <= 1.15]


def test_few_layers_and_two_sizes_of_batches_tell_all(found: Any) -> None:
    for shortened, whole in found["shortcuts"]["depth"]:
        assert shortened == whole
    between, four = found["shortcuts"]["rows"]
    assert four <= between <= four * 1.01


def test_8b_models_fit_where_they_should(found: Any) -> None:
    lora, qlora, full = (found["large"][f"llama-3.1-8b {adapter}"] for adapter in ("lora", "qlora", "none"))
    qwen = found["large"]["qwen2.5-7b lora"]
    assert (lora["parameters"], qwen["parameters"]) == (8_030_261_248, 7_615_616_512)
    # One A10G takes 4 bits, and bf16 only if activations are computed twice; an A100 takes bf16 as it is.
    assert (qlora["A10G"]["fits"], qlora["A10G"]["checkpointing"]) == (True, False)
    assert (lora["A10G"]["fits"], lora["A10G"]["checkpointing"]) == (True, True)
    assert lora["A10G"]["flops_per_token"] > lora["H100"]["flops_per_token"]
    for fits in (lora["A100-40"], qwen["A100-40"]):
        assert (fits["fits"], fits["checkpointing"]) == (True, False)
        assert fits["accumulation"] * fits["micro_batch"] == 16
    assert lora["A100-40"]["micro_batch"] <= lora["H100"]["micro_batch"]
    assert lora["8xA10G"]["sharded"]
    assert not lora["8xA100-40"]["sharded"]
    assert lora["8xA10G"]["peak"]["weights"] == lora["A10G"]["peak"]["weights"] // 8
    # All weights take 16 bytes each: no single GPU, and not eight small ones; eight of 40 GB in shards.
    assert [full[name]["fits"] for name in ("8xA10G", "8xA100-40", "H100")] == [False, True, False]
    assert full["8xA100-40"]["sharded"]
    assert "GiB" in full["H100"]["reason"]
