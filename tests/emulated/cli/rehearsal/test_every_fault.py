"""Every fault of the tables by itself, and roles that lack an action."""

from typing import Any

import pytest

from llmops_kit.cli.rehearsal.fault_case import FaultCase, cases_of
from tests.support.runs.rehearsing import Rehearsing

pytestmark = pytest.mark.long  # an hour
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_ENDPOINTS = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
CASES = {cloud: cases_of(cloud) for cloud in ("aws", "azure")}
LACKING = {
    "aws": [
        ("preview", "kms:Decrypt", "up"),
        ("training", "s3:PutObject", "train"),
        ("training", "kms:GenerateDataKey", "train"),
        ("endpoint", "s3:GetObject", "serve"),
        ("endpoint", "cloudwatch:DescribeAlarms", "serve"),
        ("promote", "sagemaker:InvokeEndpoint", "invoke"),
        ("promote", "kms:Sign", "train"),
    ],
    "azure": [
        ("preview", f"{_BLOBS}/read", "up"),
        ("deploy", "Microsoft.Authorization/roleAssignments/write", "up"),
        ("training", f"{_BLOBS}/write", "train"),
        ("deploy", "Microsoft.KeyVault/vaults/keys/sign/action", "train"),
        ("endpoint", f"{_BLOBS}/read", "serve"),
        ("deploy", f"{_ENDPOINTS}/score/action", "invoke"),
    ],
}


def on_each(table: dict[str, Any]) -> list[Any]:
    """The rows of a table of both clouds: (cloud, row)."""
    return [(cloud, row) for cloud, rows in table.items() for row in rows]


@pytest.mark.scorecard("outage-faults")
@pytest.mark.parametrize(
    ("rehearsing", "case"), on_each(CASES), indirect=["rehearsing"], ids=lambda value: getattr(value, "name", None)
)
def test_a_fault_ends_as_documented(rehearsing: Rehearsing, case: FaultCase) -> None:
    rehearsing.run("--only", case.step, "--fault", case.name)
    last = rehearsing.report()["steps"][-1]
    assert (last["id"], last["fault"], last["state"]) == (case.step, case.name, "passed")
    assert last["said"][-1].startswith(f"fault {case.name}: {case.end}")


@pytest.mark.parametrize(("rehearsing", "lacking"), on_each(LACKING), indirect=["rehearsing"])
def test_a_principal_without_an_action_fails_at_the_step_that_needs_it(
    rehearsing: Rehearsing, lacking: tuple[str, str, str]
) -> None:
    role, action, step = lacking
    text = rehearsing.run("--only", step, "--without", f"{role}:{action}", code=1)
    assert rehearsing.report()["failed_step"] == step
    assert action in text
