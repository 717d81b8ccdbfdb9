"""Every fault of the table by itself, and roles that lack an action: half an hour, so it is run by name.

`python -m pytest tests/emulated/llmops/rehearsal/every_fault.py`
"""

import pytest

from llmops.rehearsal.fault_case import FaultCase, cases_of
from tests.support.rehearsing import Rehearsing

LACKING = [
    ("preview", "kms:Decrypt", "up"),
    ("training", "s3:PutObject", "train"),
    ("training", "kms:GenerateDataKey", "train"),
    ("endpoint", "s3:GetObject", "serve"),
    ("endpoint", "cloudwatch:DescribeAlarms", "serve"),
    ("promote", "sagemaker:InvokeEndpoint", "invoke"),
    ("promote", "kms:Sign", "train"),
]


@pytest.mark.scorecard("outage-faults")
@pytest.mark.parametrize("case", cases_of("aws"), ids=lambda case: case.name)
def test_a_fault_ends_as_documented(rehearsing: Rehearsing, case: FaultCase) -> None:
    rehearsing.run("--only", case.step, "--fault", case.name)
    last = rehearsing.report()["steps"][-1]
    assert (last["id"], last["fault"], last["state"]) == (case.step, case.name, "passed")
    assert last["said"][-1].startswith(f"fault {case.name}: {case.end}")


@pytest.mark.parametrize(("role", "action", "step"), LACKING)
def test_a_role_without_an_action_fails_at_the_step_that_needs_it(
    rehearsing: Rehearsing, role: str, action: str, step: str
) -> None:
    text = rehearsing.run("--only", step, "--without", f"{role}:{action}", code=1)
    assert rehearsing.report()["failed_step"] == step
    assert action in text
