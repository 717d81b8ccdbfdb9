"""Training equals a loop written out, and the form that serves equals the form that was trained."""

import json
from typing import Any

import pytest

from tests.support.runs.training import PROGRAMS, kept_script_result, tiny_recipe, write_rows
from tests.support.tiny_models.models import base_model, tiny_model

CASES: dict[str, dict[str, Any]] = {
    "sft": {"warmup_steps": 2},
    "sft packed": {"warmup_steps": 2, "packing": True},
    "sft, all weights": {
        "adapter": "none",
        "learning_rate": 3e-4,
        "schedule": "cosine",
        "weight_decay": 0.1,
        "warmup_steps": 1,
    },
    "dpo": {"method": "dpo", "schedule": "cosine", "beta": 0.3},
    "dpo, all weights": {"method": "dpo", "adapter": "none", "weight_decay": 0.1, "learning_rate": 3e-4},
    "pretrain": {"method": "pretrain", "schedule": "constant", "max_tokens": 24, "epochs": None, "max_steps": 12},
    "pretrain packed, all weights": {"method": "pretrain", "adapter": "none", "max_tokens": 48, "packing": True},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What both loops made of each case, in one process."""
    folder = tmp_path_factory.mktemp("data")
    write_rows(folder)
    # The last step ends an epoch and a checkpoint, so that its log holds every loss.
    recipes = [tiny_recipe(precision="f32", checkpoint_steps=3, **case).to_json() for case in CASES.values()]
    (folder / "recipes.json").write_text(json.dumps(recipes))
    return dict(
        zip(
            CASES,
            kept_script_result(PROGRAMS / "oracle.py", tiny_model(), folder, folder / "recipes.json"),
            strict=True,
        )
    )


@pytest.mark.parametrize("case", CASES)
def test_losses_and_weights_equal_a_loop_written_out(trained: dict[str, Any], case: str) -> None:
    found = trained[case]
    assert len(found["kit"]) >= 12
    assert found["kit"] == pytest.approx(found["oracle"], abs=2e-6)
    assert found["distance"] < 1e-3 * found["moved"]


def test_packing_changes_no_loss(trained: dict[str, Any]) -> None:
    assert trained["sft packed"]["kit"] == pytest.approx(trained["sft"]["kit"], abs=2e-6)


@pytest.mark.parametrize(
    "model",
    [
        tiny_model,
        pytest.param(
            base_model,
            marks=pytest.mark.long(
                "tests/emulated/training/test_numbers.py::"
                "test_both_forms_of_a_version_answer_with_the_same_tokens[tiny_model]"
            ),
        ),
    ],
)
def test_both_forms_of_a_version_answer_with_the_same_tokens(model: Any) -> None:
    found = kept_script_result(PROGRAMS / "exactness.py", model(), 32)
    assert all(len(answer) > 3 for answer in found["transformers"])
    assert found["openvino"] == found["transformers"]
