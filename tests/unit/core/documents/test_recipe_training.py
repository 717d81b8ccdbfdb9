"""Settings of a training that would have no effect are refused when the recipe is read."""

from typing import Any

import pytest
from pydantic import ValidationError

from llmops_kit.core.documents.recipe_training import TrainingRecipe


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"adapter": "none", "lora": {"r": 8}}, "`lora`"),
        ({"beta": 0.2}, "`beta`"),
        ({"method": "pretrain", "beta": 0.2}, "`beta`"),
        ({"method": "dpo", "packing": True}, "`packing`"),
        ({"epochs": 2, "max_steps": 10}, "`epochs`"),
        ({"max_steps": 10, "warmup_steps": 11}, "`warmup_steps`"),
        ({"framework": "tensorflow", "method": "dpo"}, "`method: dpo`"),
        ({"framework": "tensorflow", "adapter": "qlora"}, "`adapter: qlora`"),
        ({"framework": "tensorflow", "lora": {"dropout": 0.1}}, "`lora.dropout`"),
        ({"framework": "tensorflow", "packing": True}, "`packing`"),
        ({"framework": "tensorflow", "sharding": True}, "`sharding: true`"),
        ({"framework": "tensorflow", "gradient_checkpointing": True}, "`gradient_checkpointing: true`"),
    ],
)
def test_a_setting_without_effect_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TrainingRecipe(**fields)
    assert named in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"method": "dpo", "beta": 0.2, "adapter": "none"},
        {"method": "pretrain", "packing": True, "adapter": "qlora", "lora": {"r": 8}},
        {"framework": "tensorflow", "method": "pretrain", "adapter": "none", "patience": 2},
        {"max_steps": 10, "warmup_steps": 10, "schedule": "cosine", "weight_decay": 0.1},
    ],
)
def test_what_a_recipe_says_reads_the_same_again(fields: dict[str, Any]) -> None:
    training = TrainingRecipe(**fields)
    assert TrainingRecipe.model_validate_json(training.model_dump_json()) == training
