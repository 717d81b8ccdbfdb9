"""Every fault of the table by itself, and principals that lack an action: half an hour, so it is run by name.

`python -m pytest tests/emulated/llmops/rehearsal_azure/every_fault.py`
"""

import pytest

from llmops.rehearsal.fault_case import FaultCase, cases_of
from tests.support.rehearsing import Rehearsing

_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_ENDPOINTS = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
LACKING = [
    ("preview", f"{_BLOBS}/read", "up"),
    ("deploy", "Microsoft.Authorization/roleAssignments/write", "up"),
    ("training", f"{_BLOBS}/write", "train"),
    ("deploy", "Microsoft.KeyVault/vaults/keys/sign/action", "train"),
    ("endpoint", f"{_BLOBS}/read", "serve"),
    ("deploy", f"{_ENDPOINTS}/score/action", "invoke"),
]


@pytest.mark.scorecard("outage-faults")
@pytest.mark.parametrize("case", cases_of("azure"), ids=lambda case: case.name)
def test_a_fault_ends_as_documented(rehearsing: Rehearsing, case: FaultCase) -> None:
    rehearsing.run("--only", case.step, "--fault", case.name)
    last = rehearsing.report()["steps"][-1]
    assert (last["id"], last["fault"], last["state"]) == (case.step, case.name, "passed")
    assert last["said"][-1].startswith(f"fault {case.name}: {case.end}")


@pytest.mark.parametrize(("role", "action", "step"), LACKING)
def test_a_principal_without_an_action_fails_at_the_step_that_needs_it(
    rehearsing: Rehearsing, role: str, action: str, step: str
) -> None:
    text = rehearsing.run("--only", step, "--without", f"{role}:{action}", code=1)
    assert rehearsing.report()["failed_step"] == step
    assert action in text
