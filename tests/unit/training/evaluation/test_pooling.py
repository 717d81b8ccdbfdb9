"""Answers of all ranks are complete, each once, and texts."""

from pathlib import Path

import pytest

from llmops_kit.core.errors import IntegrityError
from llmops_kit.training.evaluation.pooling import TEXTS, _together, pooled
from llmops_kit.training.ranks import Alone


def test_one_rank_keeps_its_own() -> None:
    assert pooled({0: "a", 1: "b"}, 2, Alone(), TEXTS) == {0: "a", 1: "b"}


@pytest.mark.parametrize(
    ("second", "what"),
    [
        ('{"0": "c"}', "answers row 0 once more"),
        ('{"2": "c"}', "2 of 2 rows"),
        ("{}", "1 of 2 rows"),
        ('{"1": 5}', "holds no answers"),
        ("[", "holds no answers"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path: Path, second: str, what: str) -> None:
    files = [tmp_path / "rank-0.json", tmp_path / "rank-1.json"]
    files[0].write_text('{"0": "a"}')
    files[1].write_text('{"1": "b"}')
    assert _together(files, 2, TEXTS) == {0: "a", 1: "b"}
    files[1].write_text(second)
    with pytest.raises(IntegrityError, match=what):
        _together(files, 2, TEXTS)
