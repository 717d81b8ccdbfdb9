"""Who may what, where and when."""

import time
from pathlib import Path

import pytest

from llmops_twins.azure.entra import principals
from llmops_twins.azure.judges.permissions import WORKS_FROM, RoleJudge
from llmops_twins.azure.services import authorization
from llmops_twins.azure.twin import TenantTwin
from tests.support.clouds.azure import Arm, local_twin

PULL = "Microsoft.ContainerRegistry/registries/pull/read"


@pytest.fixture
def twin(tmp_path: Path) -> TenantTwin:
    return local_twin(tmp_path, authorization.install)


def test_an_assignment_holds_for_its_scope_and_all_below(twin: TenantTwin) -> None:
    group = f"/subscriptions/{twin.subscription}/resourceGroups/rg"
    caller = principals.add(twin, "one", "identity")
    authorization.assign(twin, caller.object_id, "AcrPull", group)
    judge = RoleJudge(twin)
    assert judge.allows(caller.object_id.upper(), PULL, f"{group.upper()}/providers/X/registries/r", False)
    assert judge.allows(caller.object_id, PULL, group, False)
    assert not judge.allows(caller.object_id, PULL, f"{group}2", False)
    assert not judge.allows(caller.object_id, PULL, f"/subscriptions/{twin.subscription}", False)
    assert not judge.allows("somebody", PULL, group, False)


def test_an_assignment_works_only_when_services_know_it(twin: TenantTwin) -> None:
    scope = f"/subscriptions/{twin.subscription}"
    caller = principals.add(twin, "one", "identity")
    document = authorization.assign(twin, caller.object_id, "AcrPull", scope)
    document[WORKS_FROM] = time.time() + 60
    assert not RoleJudge(twin).allows(caller.object_id, PULL, scope, False)
    document[WORKS_FROM] = time.time() - 1
    assert RoleJudge(twin).allows(caller.object_id, PULL, scope, False)


def test_what_is_asked_is_recorded_and_refused_in_azures_words(twin: TenantTwin) -> None:
    arm = Arm(twin, principals.add(twin, "nobody", "application"))
    path = f"/subscriptions/{twin.subscription}/resourceGroups/rg"
    refused = arm.put(path, "2024-03-01", {"location": "westeurope"})
    assert (refused.status, refused.code) == (403, "AuthorizationFailed")
    action = "Microsoft.Resources/subscriptions/resourceGroups/write"
    message = f"with object id '{arm.caller.object_id}' does not have authorization to perform action '{action}'"
    assert message in refused.body["error"]["message"]
    (entry,) = [each for each in twin.state["recorded"] if each[0] == arm.caller.object_id]
    assert entry[1:] == [action, path, False]


def test_assignments_are_read_again_only_when_they_changed(twin: TenantTwin) -> None:
    scope = f"/subscriptions/{twin.subscription}"
    caller = principals.add(twin, "one", "identity")
    judge = RoleJudge(twin)
    assert not judge.allows(caller.object_id, PULL, scope, False)
    read = judge._grants
    assert judge.allows(principals.OWNER_ID, PULL, scope, False)
    assert judge._grants is read
    authorization.assign(twin, caller.object_id, "AcrPull", scope)
    judge.forget()
    assert judge.allows(caller.object_id, PULL, scope, False)
