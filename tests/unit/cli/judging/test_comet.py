"""A COMET model whose scores are no shares is refused."""

from pathlib import Path

import pytest

from llmops_kit.cli.judging.judging import JudgedAnswers
from llmops_kit.cli.judging.verdicts import find_verdicts
from llmops_kit.core.documents.judgements import JudgeVerdict
from llmops_kit.core.documents.recipe_evaluation import Suite
from llmops_kit.core.errors import KitError
from llmops_kit.training.data.rows import row_of
from llmops_kit.training.evaluation.scorers import SuiteRow
from tests.unit.cli.conftest import make_platform


def test_scores_outside_of_0_to_1_are_refused(tmp_path: Path) -> None:
    fields = {"name": "german", "split": "test", "metric": "comet", "languages": ["en", "de"]}
    suite = Suite.model_validate(fields | {"comet": {"model": f"comet-tiny@1@sha256:{'a' * 64}"}})
    rows = [SuiteRow(row_of({"prompt": "Translate: dog", "completion": "hund"}, "a:1"), "", "g", "dog")] * 20
    judged = JudgedAnswers(suite, rows, ["katze"] * 20, [f"hund {n}" for n in range(20)])
    first, second, *others = (request.key for request in judged.requests())
    known = {key: JudgeVerdict(score=0.5) for key in (second, *others)}
    outside = {first: JudgeVerdict(score=-0.3)}
    platform = make_platform(tmp_path, "dev")
    assert find_verdicts(platform, judged, known | outside, lambda _: None) == known | outside  # 1 of 21
    outside[second] = JudgeVerdict(score=1.1)
    with pytest.raises(KitError, match=r"2 of 21 scores are not from 0 to 1, such as -0\.3"):
        find_verdicts(platform, judged, known | outside, lambda _: None)
