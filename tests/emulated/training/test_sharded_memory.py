"""In shards, no rank ever has a whole model, and takes what was said beforehand."""

import json

from tests.support.runs.training import PROGRAMS, run_script


def test_two_ranks_take_what_is_foreseen_and_never_a_whole_model() -> None:
    """Of three sizes, within 15 %: all weights, and an adapter beside tied embeddings."""
    found = json.loads(run_script(PROGRAMS / "sharded_memory.py")[-1])
    assert [case["size"] for case in found] == ["5M", "50M", "57M"]
    for case in found:
        assert case["loaded"] < 0.6, case
        assert max(case["resident"]) < 0.55, case
        assert all(0.85 <= ratio <= 1.15 for ratio in case["foreseen"]), case
