"""Verdicts are found once for equal questions, and anew where anything differs that they depend on."""

import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from llmops_kit.core.errors import KitError
from llmops_twins.aws.policy_evaluator.evaluator import Evaluator, PolicyQuestion
from llmops_twins.aws.policy_evaluator.installation import install
from twins.tests.unit.aws.judges.bench import ACCOUNT, allow, deny, policy

USER = f"arn:aws:iam::{ACCOUNT}:user/dev"
NOON, EVENING = "2026-06-01T12:00:00Z", "2026-06-01T18:00:00Z"
READ = PolicyQuestion(
    USER,
    ACCOUNT,
    "s3:GetObject",
    "arn:aws:s3:::data/x",
    {"aws:CurrentTime": NOON, "aws:PrincipalArn": USER, "aws:SecureTransport": "true"},
    (policy(allow("s3:GetObject", "arn:aws:s3:::data/*")),),
)
LATER = {**READ.context, "aws:CurrentTime": EVENING}


@pytest.fixture
def evaluator() -> Iterator[Evaluator]:
    made = Evaluator(install())
    yield made
    made.close()


def test_an_equal_question_is_not_asked_again(evaluator: Evaluator) -> None:
    assert [verdict.allowed for verdict in evaluator.judge([READ, READ])] == [True, True]
    evaluator._process.send_signal(signal.SIGKILL)
    evaluator._process.wait()
    assert evaluator.judge([replace(READ, context=LATER)])[0].allowed
    with pytest.raises(KitError, match="permission judge"):
        evaluator.judge([READ, replace(READ, resource="arn:aws:s3:::data/y")])


@pytest.mark.parametrize("key", ["aws:CurrentTime", "AWS:currenttime", "aws:Current\\u0054ime"])
def test_a_policy_that_mentions_the_time_is_judged_each_time(evaluator: Evaluator, key: str) -> None:
    text = policy(allow("s3:GetObject", "*", Condition={"DateLessThan": {"KEY": "2026-06-01T15:00:00Z"}}))
    text = text.replace("KEY", key)
    question = replace(READ, identity=(text,))
    assert evaluator.judge([question])[0].allowed
    assert not evaluator.judge([replace(question, context=LATER)])[0].allowed


def test_a_policy_counts_as_what_it_is_attached_as(evaluator: Evaluator) -> None:
    text = policy(allow("s3:GetObject", "*"))
    assert evaluator.judge([replace(READ, identity=(text,))])[0].allowed
    assert not evaluator.judge([replace(READ, identity=(), boundary=text)])[0].allowed
    assert not evaluator.judge([replace(READ, boundary=policy(allow("s3:PutObject", "*")))])[0].allowed
    assert not evaluator.judge([replace(READ, session=policy(deny("s3:*", "*")))])[0].allowed
    assert evaluator.judge([replace(READ, session=text)])[0].allowed


def test_values_of_the_context_count(evaluator: Evaluator) -> None:
    text = policy(allow("s3:GetObject", "*", Condition={"Bool": {"aws:SecureTransport": "true"}}))
    question = replace(READ, identity=(text,))
    assert evaluator.judge([question])[0].allowed
    assert not evaluator.judge([replace(question, context={**READ.context, "aws:SecureTransport": "false"})])[0].allowed
