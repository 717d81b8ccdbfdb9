"""`llmops rehearse azure`: the whole of it once, and what it leaves. What handles faults knows no cloud: on AWS's twin
they are met on the way, on Azure's in test_every_fault.py.
"""

from typing import Any

import pytest

from llmops_kit.cli.rehearsal.clouds.azure import Azure
from llmops_twins.azure.judges.roles import Permission
from tests.support.runs.rehearsal_contract import RehearsalContract
from tests.support.runs.rehearsing import Rehearsing

CLOUD = Azure()
FAULTS = ()
# A vault that is protected from purges stays for some days, whoever deletes it.
KEPT = {"Microsoft.KeyVault/locations/deletedVaults": 1}


class TestRehearsal(RehearsalContract):
    cloud = CLOUD
    faults = FAULTS

    @pytest.mark.long("tests/support/runs/rehearsal_contract.py::test_ctrl_c_leaves_nothing_but_the_report")
    def test_ctrl_c_leaves_nothing_but_the_report(self, rehearsing: Rehearsing) -> None:
        super().test_ctrl_c_leaves_nothing_but_the_report(rehearsing)


def test_what_azure_does_itself_was_seen(report: dict[str, Any]) -> None:
    said = {step["id"]: "\n".join(step["said"]) for step in report["steps"]}
    assert "its machine was interrupted 1 time(s)" in said["train"]
    assert "deleted, but recoverable for some days: microsoft.keyvault/vaults/" in said["down-data"]


@pytest.mark.long
def test_what_was_needed_is_what_the_roles_give(report: dict[str, Any]) -> None:
    """Of each principal: every action that was allowed is in a role that it was given, on a scope above it."""
    needed = {
        (access["role"], access["action"])
        for step in report["steps"]
        for access in step["accesses"]
        if access["allowed"]
    }
    assert {role for role, _ in needed} == {"preview", "deploy", "promote", "training", "endpoint"}
    for role, action in needed:
        grants = report["policies"][role]
        assert any(
            Permission(tuple(grant[kind])).allows(action, False)
            for grant in grants
            for kind in ("actions", "data_actions")
        ), (role, action)
