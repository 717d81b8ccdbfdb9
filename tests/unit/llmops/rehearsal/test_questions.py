"""The tables of questions, for each cloud."""

import re

import pytest

from llmops_kit.cli.rehearsal.clouds import find_cloud
from llmops_kit.cli.rehearsal.questions import Question, table
from llmops_kit.cli.rehearsal.smoke.anonymous import anonymous
from llmops_kit.cli.rehearsal.smoke.answers import answers
from llmops_kit.cli.rehearsal.smoke.smoke_steps import STEPS
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.clouds.targets import cloud_names
from tests.unit.llmops.rehearsal.conftest import Rehearsed, step


@pytest.mark.parametrize("cloud", cloud_names())
def test_every_question_has_a_step_or_says_why_not(cloud: str) -> None:
    questions = find_cloud(cloud).questions()
    assert len({q.id for q in questions}) == len(questions)
    for question in questions:
        assert bool(question.step) != bool(question.beyond), question.id
        assert not question.step or question.step in {s.id for s in STEPS}, question.id
        assert not question.step or question.look, question.id
        assert question.asks.endswith("?"), question.id
        assert question.source, question.id
        assert 0 < question.sure < 100, question.id
        re.compile(question.otherwise)


def test_a_question_that_stumbles_ends_nothing(rehearsed: Rehearsed) -> None:
    def stumble(_: Stage) -> str:
        raise IndexError("list index")

    asked = Question("why", "Why?", "a page", "so", 50, step="one", look=stumble)
    (result,) = rehearsed(step("one"))
    assert answers([asked], rehearsed.stage, result) == {}
    (row,) = table([asked], {}, [result])
    assert (row.state, row.did) == ("not answered", "the step one passed, but its results could not be read")


def test_what_others_may_read_names_no_account_and_nobody() -> None:
    guid = "6f1a2b3c-0000-4000-8000-1234567890ab"
    text = (
        f"arn:aws:iam::123456789012:user/anna of anna@acme.example, {guid} and {guid.upper()}, "
        "sha256:1234567890123456789012345678901234567890 after 0.123456789012 s at /srv/anna/kit"
    )
    shown = anonymous(text, "/srv/anna")
    assert shown == (
        "arn:aws:iam::ACCOUNT:caller of somebody, id-1 and id-1, "
        "sha256:1234567890123456789012345678901234567890 after 0.123456789012 s at …/kit"
    )
