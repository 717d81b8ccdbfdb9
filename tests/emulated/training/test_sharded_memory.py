"""In shards, no rank ever has a whole model, and takes what was said beforehand."""

from tests.support.runs.training import PROGRAMS, script_result


def test_two_ranks_take_what_is_foreseen_and_never_a_whole_model() -> None:
    """Of three sizes, within 15 %: all weights, and an adapter beside tied embeddings."""
    found = script_result(PROGRAMS / "sharded_memory.py")
    assert [case["size"] for case in found] == ["5M", "50M", "28M"]
    for case in found:
        assert case["loaded"] < 0.6, case
        assert max(case["resident"]) < 0.55, case
        assert all(0.85 <= ratio <= 1.15 for ratio in case["foreseen"]), case
