"""Whether versions fit on GPUs under vLLM: held against figures that its arithmetic gives by hand."""

import json
from math import ceil
from typing import Any

import pytest

from llmops_kit.cli.machines.machines import A10G, H100, T4
from llmops_kit.cli.plan.gpu_fit import fit_words
from llmops_kit.core.models.gpu_fit import gpu_fit
from llmops_kit.core.models.gpus import MEMORY_SHARE
from tests.support.checkout import CHECKOUT

LLAMA_BYTES = 16_060_522_240  # 8.03 B parameters in bf16


def config(name: str, **changes: Any) -> dict[str, Any]:
    return json.loads((CHECKOUT / f"tests/data/{name}/config.json").read_text()) | changes


def test_llama_8b_on_an_a10g_fits_with_a_shorter_context() -> None:
    """32 layers x 8 heads x (128 + 128) x 2 bytes a token; 24 GB x 0.9 less 16.06 GB; blocks of 16, one kept back."""
    fit = gpu_fit(config("llama-3.1-8b"), LLAMA_BYTES, A10G)
    assert fit
    assert fit.token == 131_072
    assert fit.taken == ceil(24_000_000_000 * 0.9)
    assert fit.tokens == ((21_600_000_000 - LLAMA_BYTES) // (16 * 131_072) - 1) * 16 == 42_240
    assert fit.fits
    assert fit.longest == 42_240 < fit.context == 131_072
    assert "contexts of 42240 tokens (the model's 131072 have no room)" in fit.words
    whole = gpu_fit(config("llama-3.1-8b"), LLAMA_BYTES, H100)
    assert whole
    assert whole.longest == 131_072
    assert "no room" not in whole.words


@pytest.mark.scorecard("bad-input")
def test_what_does_not_fit_says_so() -> None:
    fit = gpu_fit(config("llama-3.1-8b"), LLAMA_BYTES, T4)
    assert fit
    assert (fit.tokens, fit.fits) == (0, False)
    assert "does not fit" in fit.words
    doubled = gpu_fit(config("llama-3.1-8b"), LLAMA_BYTES, A10G, "f32")
    assert doubled
    assert not doubled.fits, "f32 takes twice the bytes of what is stored in 16 bits"


@pytest.mark.parametrize(
    ("stored", "there", "changes", "taken"),
    [
        (LLAMA_BYTES, 4, {}, 1),  # one does: the others would only wait for each other
        (2 * LLAMA_BYTES, 4, {}, 2),
        (4 * LLAMA_BYTES, 4, {}, 4),
        (9 * LLAMA_BYTES, 4, {}, 4),  # fits on none: on the most, and the words say that it does not
        (2 * LLAMA_BYTES, 3, {}, 2),
        (2 * LLAMA_BYTES, 4, {"num_attention_heads": 25, "num_key_value_heads": 5, "head_dim": 128}, 1),
        (2 * LLAMA_BYTES, 4, {"intermediate_size": 14_337}, 1),
        (4 * LLAMA_BYTES, 4, {"num_key_value_heads": 2}, 4),  # key/value heads are copied
    ],
)
def test_as_few_gpus_are_taken_as_the_weights_need_and_vllm_can_divide_among(
    stored: int, there: int, changes: dict[str, Any], taken: int
) -> None:
    fit = gpu_fit(config("llama-3.1-8b", **changes), stored, A10G, gpus=there)
    assert fit
    assert fit.gpus == taken
    assert fit.weights == ceil(stored / taken)
    assert fit.token == 131_072 // 8 * max(1, changes.get("num_key_value_heads", 8) // taken)
    assert (f"each of {taken} A10G" in fit.words) == (taken > 1)


def test_a_head_size_and_heads_of_queries_are_read_where_they_are_said() -> None:
    plain = gpu_fit(config("qwen2.5-7b"), 15_231_233_024, A10G)
    assert plain
    assert plain.token == 28 * 4 * 2 * 128 * 2
    own = gpu_fit(config("qwen2.5-7b", head_dim=256, num_key_value_heads=None), 15_231_233_024, A10G)
    assert own
    assert own.token == 28 * 28 * 2 * 256 * 2


def test_the_plan_reckons_with_the_share_that_vllm_is_started_with() -> None:
    fit = gpu_fit(config("llama-3.1-8b"), 0, H100)
    assert fit
    assert fit.taken == ceil(H100.memory * MEMORY_SHARE)


@pytest.mark.parametrize(
    "changes",
    [
        {"kv_lora_rank": 512},
        {"sliding_window": 4096, "use_sliding_window": True},
        {"layer_types": ["full_attention", "linear_attention"]},
        {"num_hidden_layers": None},
        {"torch_dtype": "float8_e4m3fn"},
    ],
)
def test_another_kind_of_cache_is_unknown(changes: dict[str, Any]) -> None:
    assert gpu_fit(config("llama-3.1-8b", **changes), LLAMA_BYTES, A10G) is None


def test_machines_without_gpus_say_nothing_and_a_stack_that_is_not_there_says_unknown() -> None:
    from llmops_kit.core.names import parse_promoted

    ref = parse_promoted(f"chatbot@1@sha256:{'0' * 64}")
    assert fit_words(None, ref, "ml.c5.2xlarge", "auto") == ""
    assert "unknown: the stack is not deployed" in fit_words(None, ref, "ml.g5.xlarge", "auto")
