"""`llmops rehearse aws`: the whole of it once, with faults on the way; what it leaves; and how it fails."""

import json
from typing import Any

import pytest

from llmops_kit.cli.rehearsal.clouds.aws import Aws
from llmops_twins.aws.policy_evaluator.evaluator import Evaluator, PolicyQuestion
from llmops_twins.aws.policy_evaluator.installation import install
from tests.support.clouds.aws_unused import UNUSED
from tests.support.clouds.role_permissions import actions_of, first_needs, is_needed, without
from tests.support.runs.rehearsal_contract import RehearsalContract

CLOUD = Aws()
FAULTS = ("throttle", "slow_start", "cut_stream")
ACCOUNT = {"AWS": "arn:aws:iam::000000000000:root"}
# A key's policy has to leave it to the account's policies.
KEY_POLICY = {"Statement": [{"Effect": "Allow", "Principal": ACCOUNT, "Action": "kms:*", "Resource": "*"}]}


class TestRehearsal(RehearsalContract):
    cloud = CLOUD
    faults = FAULTS


@pytest.fixture(scope="module")
def evaluator():
    made = Evaluator(install())
    yield made
    made.close()


def test_every_action_is_needed_by_a_step_and_denied_without_it(report: dict[str, Any], evaluator: Evaluator) -> None:
    """Of each role: what was recorded is allowed by its policies, and is denied when that action is taken out."""
    needed = first_needs(report)
    assert {role for role, _ in needed} >= {"preview", "deploy", "promote", "training", "endpoint"}
    questions, wanted = [], []
    for (role, action), (_, resource) in needed.items():
        policies = report["policies"][role]
        for document, allowed in ((policies, True), (without(policies, action), False)):
            questions.append(_question(document, action, resource))
            wanted.append((role, action, allowed))
    verdicts = evaluator.judge(questions)
    found = [(*asked[:2], verdict.allowed) for asked, verdict in zip(wanted, verdicts, strict=True)]
    assert found == wanted


def test_no_role_of_a_stack_has_an_action_that_no_step_needs(report: dict[str, Any]) -> None:
    needed = first_needs(report)
    for role in ("training", "endpoint", "scheduler"):
        mine = [action for of, action in needed if of == role]
        unneeded = {a for a in actions_of(report["policies"][role]) if not is_needed(a, mine)}
        assert unneeded == {action for of, action in UNUSED if of == role}


def _question(policies: list[dict[str, Any]], action: str, resource: str) -> PolicyQuestion:
    """Conditions aside: they look at the request, and were judged when it was made."""
    bare = json.loads(json.dumps(policies))
    for policy in bare:
        policy["Statement"] = [s for s in policy["Statement"] if s["Effect"] == "Allow" or "Condition" not in s]
        for statement in policy["Statement"]:
            statement.pop("Condition", None)
    texts = tuple(json.dumps(p) for p in bare)
    asked = resource if resource == "*" else resource.replace("*", "new")
    key = json.dumps(KEY_POLICY) if action.startswith("kms:") else None
    return PolicyQuestion(
        "arn:aws:iam::000000000000:user/x", "000000000000", action, asked, {}, texts, resource_policy=key
    )
