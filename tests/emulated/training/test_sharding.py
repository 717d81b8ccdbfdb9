"""Weights and checkpoints in shards: two ranks train what one does, and each goes on where the other was stopped.

They share evaluations too.
"""

import json
from itertools import accumulate
from typing import Any

import pytest

from tests.support.runs.training import PROGRAMS, kept_script_result, tiny_recipe, write_rows
from tests.support.tiny_models.models import tiny_model

STEPS = 6
SHARDED = {"sharding": True}
# Of rank 1, there is one row in some weights: the second process has none of it.
LORA: dict[str, Any] = {"lora": {"r": 1}, "patience": 9}
FULL: dict[str, Any] = {"adapter": "none", "checkpoint_steps": 1}
DPO: dict[str, Any] = {"adapter": "none", "method": "dpo"}
BF16 = {"precision": "bf16", "learning_rate": 3e-4}
DRAWS = range(1, 7)
"""Seeds of trainings whose products are rounded to bf16 otherwise."""
ROUNDING = 2**-8
"""Of bf16, which has 8 binary digits: the largest relative error of rounding a number."""
UNCHANGED: dict[str, Any] = {"epochs": 1, "max_steps": 1, "warmup_steps": 1}
WAYS: list[dict[str, Any]] = [
    {"name": "one", "options": LORA},
    # A row at a time: of the last batch's one row, the second rank has a part without loss.
    {"name": "shards", "size": 2, "options": LORA | SHARDED | {"gradient_checkpointing": True}, "tokens": 1},
    {"name": "one stopped", "options": LORA, "stop_after": 3},
    {"name": "one, then two", "from": "one stopped", "size": 2, "options": LORA | SHARDED},
    {"name": "two stopped", "size": 2, "options": LORA | SHARDED, "stop_after": 3},
    {"name": "two, then one", "from": "two stopped", "options": LORA},
    {"name": "full", "options": FULL},
    {"name": "full shards", "size": 2, "options": FULL | SHARDED},
    {"name": "full killed", "size": 2, "options": FULL | SHARDED, "kills": 3},
    {"name": "bf16", "options": FULL | BF16},
    {"name": "bf16 shards", "size": 2, "options": FULL | SHARDED | BF16},
    *({"name": f"bf16 {draw}", "options": FULL | BF16, "draw": draw} for draw in DRAWS),
    {"name": "dpo", "options": DPO},
    {"name": "dpo shards", "size": 2, "options": DPO | SHARDED},
    {"name": "lacking", "size": 2, "options": LORA | SHARDED, "lacks": "backward"},
    {"name": "dpo lacking", "size": 2, "options": DPO | SHARDED, "lacks": "backward"},
    {"name": "unchanged", "size": 2, "options": FULL | SHARDED | UNCHANGED},
    {"name": "asked", "asks": True},
    {"name": "asked by two", "asks": True, "size": 2},
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("sharding")
    write_rows(folder)
    held_out = (folder / "held-out.jsonl").read_text().splitlines(keepends=True)
    (folder / "few.jsonl").write_text("".join(held_out[:3]))  # the second of two ranks has fewer to measure
    tiny_recipe(epochs=2, batch_size=4, precision="f32").write(folder / "recipe.json")
    script = PROGRAMS / "ranked.py"
    return kept_script_result(script, tiny_model(), folder, folder / "recipe.json", json.dumps(WAYS))


@pytest.mark.parametrize(
    ("way", "alone"),
    [
        ("shards", "one"),
        ("one, then two", "one"),
        ("two, then one", "one"),
        ("full shards", "full"),
        ("dpo shards", "dpo"),
        ("lacking", "one"),
        ("dpo lacking", "dpo"),
    ],
)
def test_two_ranks_in_shards_train_what_one_process_trains(found: dict[str, Any], way: str, alone: str) -> None:
    assert len(found[alone]["losses"]) == STEPS
    assert found[way]["losses"] == pytest.approx(found[alone]["losses"], rel=2e-6, abs=2e-6)
    assert found[way]["validation"] == found[alone]["validation"]


def test_weights_that_travel_in_bf16_are_those_of_its_products(found: dict[str, Any]) -> None:
    """The first loss and its gradients are those of the same products, each rounded once more at most. How far later
    losses may be apart by rounding alone, trainings tell whose products are rounded otherwise, on this processor.
    """
    shards, whole = found["bf16 shards"]["losses"], found["bf16"]["losses"]
    assert len(shards) == len(whole) == STEPS
    assert shards[0] == pytest.approx(whole[0], rel=ROUNDING / 4)  # a mean of many
    assert found["bf16 shards"]["norm"] == pytest.approx(found["bf16"]["norm"], rel=ROUNDING)
    apart = [
        max(abs(loss - found[f"bf16 {draw}"]["losses"][step]) for draw in DRAWS) for step, loss in enumerate(whole)
    ]
    distances = [abs(one - other) for one, other in zip(shards, whole, strict=True)]
    assert all(near <= 2 * far for near, far in zip(distances, accumulate(apart, max), strict=True))


def test_a_run_in_shards_that_changed_no_weight_is_an_error(found: dict[str, Any]) -> None:
    assert found["unchanged"] == {"error": "none of the trained weights changed in 1 steps: nothing was learned"}


@pytest.mark.parametrize(("one", "other"), [("one", "shards"), ("one", "two, then one"), ("full", "full shards")])
def test_weights_have_the_same_digest_whole_and_in_shards(found: dict[str, Any], one: str, other: str) -> None:
    assert found[one]["begun"] == found[other]["begun"]
    assert found["one"]["begun"] != found["full"]["begun"]


def test_each_rank_keeps_its_half(found: dict[str, Any]) -> None:
    [whole], halves = found["full"]["shards"], found["full shards"]["shards"]
    assert len(halves) == 2
    assert max(halves) < 0.52 * whole


def test_other_numbers_of_ranks_take_checkpoints_up(found: dict[str, Any]) -> None:
    for way, shards in (("one, then two", 2), ("two, then one", 1)):
        assert found[way]["resumed"] == ["checkpoint-3"]
        assert len(found[way]["shards"]) == shards


def test_ranks_killed_at_random_end_with_equal_bytes(found: dict[str, Any]) -> None:
    assert found["full killed"]["resumed"]
    assert found["full killed"]["sha256"] == found["full shards"]["sha256"]


def test_two_ranks_answer_as_one_does(found: dict[str, Any]) -> None:
    assert len(found["asked"]["answers"]) == 30
    assert found["asked by two"]["answers"] == found["asked"]["answers"]
    assert [found[way]["batches"] for way in ("asked", "asked by two")] == [4, 2]
