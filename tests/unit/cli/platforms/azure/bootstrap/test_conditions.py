"""The conditions of bootstrap's role assignments, as the twin of Azure judges them."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.platforms.azure.bootstrap.roles import BUILT_IN, only_the_stacks_own, only_what_is_said_of_versions
from llmops_twins.azure.entra import principals
from llmops_twins.azure.judges.conditions import SUB_OPERATION, parse
from llmops_twins.azure.judges.permissions import assignment_attributes
from llmops_twins.azure.services import authorization
from tests.support.clouds.azure import Arm, local_twin

ASSIGN = "Microsoft.Authorization/roleAssignments/write"
REMOVE = "Microsoft.Authorization/roleAssignments/delete"
READ = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
PATH = "@resource[microsoft.storage/storageaccounts/blobservices/containers/blobs:path]"
Document = dict[str, str]
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
PUSH = "8311e382-0749-4cb8-b61a-304f252e45ec"
VERSION = "2022-04-01"
OURS, OTHER = "11111111-0000-0000-0000-000000000000", "22222222-0000-0000-0000-000000000000"


def asked(source: str, role: str = BUILT_IN["AcrPull"], who: str = OURS, kind: str = "ServicePrincipal") -> Document:
    """Attributes of an assignment that is written (@request) or deleted (@resource)."""
    properties = {"roleDefinitionId": f"/x/roleDefinitions/{role}", "principalId": who, "principalType": kind}
    given = {name: value for name, value in properties.items() if value}
    return assignment_attributes(**{"request": {}, "resource": {}, source: given})


@pytest.mark.vulnerability(12)
@pytest.mark.parametrize(
    ("action", "attributes", "holds"),
    [
        (ASSIGN, asked("request"), True),
        (ASSIGN, asked("request", BUILT_IN["AcrPull"].upper(), OURS.upper(), "serviceprincipal"), True),
        (ASSIGN, asked("request", OWNER), False),
        (ASSIGN, asked("request", BUILT_IN["Key Vault Crypto User"]), False),
        (ASSIGN, asked("request", who=OTHER), False),
        (ASSIGN, asked("request", kind="User"), False),
        (ASSIGN, asked("request", kind="Group"), False),
        (ASSIGN, asked("request", kind=""), False),  # a request that leaves the type to Azure
        (ASSIGN, asked("resource"), False),
        (ASSIGN, {}, False),
        (REMOVE, asked("resource"), True),
        (REMOVE, asked("resource", OWNER), False),
        (REMOVE, asked("resource", who=OTHER), False),
        (REMOVE, asked("resource", kind="User"), False),
        (REMOVE, asked("request"), False),
        (REMOVE, {}, False),
        ("Microsoft.Authorization/roleAssignments/read", {}, True),
    ],
)
def test_vulnerability_12_a_condition_names_roles_types_and_principals(
    action: str, attributes: Document, holds: bool
) -> None:
    assert parse(only_the_stacks_own([OURS]))(action, attributes) is holds


@pytest.mark.parametrize(
    ("path", "holds"),
    [
        ("models/abc/manifest.json", True),
        ("aliases/a/1.json", True),
        ("models/abc/model.safetensors", False),
        ("datasets/abc/manifest.json", True),
        ("datasets/abc/train.parquet", False),
        ("runs/r/input/spec/run.json", True),
        ("runs/r/output/j/model/manifest.json", True),
        ("runs/r/output/j/model/evaluation.json", False),
        ("async/chatbot/input/1.json", False),
    ],
)
def test_blobs_that_may_be_read(path: str, holds: bool) -> None:
    assert parse(only_what_is_said_of_versions())(READ, {PATH: path}) is holds


def test_names_of_blobs_may_be_listed() -> None:
    assert parse(only_what_is_said_of_versions())(READ, {SUB_OPERATION: "Blob.List"})


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    return Arm(local_twin(tmp_path, authorization.install))


def body(arm: Arm, principal: str, role: str = BUILT_IN["AcrPull"], **more: Any) -> dict[str, Any]:
    place = f"/subscriptions/{arm.twin.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"
    return {"properties": {"principalId": principal, "roleDefinitionId": place, **more}}


def place(arm: Arm, name: str = "", scope: str = "") -> str:
    scope = scope or arm.group()
    return f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name or uuid.uuid4()}"


@pytest.mark.vulnerability(12)
def test_vulnerability_12_a_condition_on_types_and_principals_is_judged_of_requests(arm: Arm) -> None:
    """With Microsoft's own attributes, over HTTP: who may be given a role, and who may lose one."""
    dev, ours, other = (principals.add(arm.twin, name, "application") for name in ("dev", "ours", "other"))
    human = principals.add(arm.twin, "human", "user")
    group, administrator = arm.group(), "f58310d9-a9f6-439a-9e8d-f62e7b41a168"
    condition = only_the_stacks_own([ours.object_id])
    given = body(arm, dev.object_id, administrator, condition=condition, conditionVersion="2.0")
    assert arm.put(place(arm, scope=group), VERSION, given).status == 201
    theirs, mine = str(uuid.uuid4()), str(uuid.uuid4())
    arm.put(place(arm, theirs), VERSION, body(arm, other.object_id, principalType="ServicePrincipal"))
    calls, typed = Arm(arm.twin, dev), {"principalType": "ServicePrincipal"}
    assert calls.put(place(arm, mine), VERSION, body(arm, ours.object_id)).status == 403  # without its type
    assert calls.put(place(arm, mine), VERSION, body(arm, ours.object_id, **typed)).status == 201
    assert calls.put(place(arm, mine), VERSION, body(arm, ours.object_id, PUSH, **typed)).status == 403
    for who, kind in ((other, "ServicePrincipal"), (human, "User"), (human, "ServicePrincipal"), (dev, "User")):
        refused = calls.put(place(arm), VERSION, body(arm, who.object_id, principalType=kind))
        assert (refused.status, refused.code) == (403, "AuthorizationFailed")
    assert calls.delete(place(arm, theirs), VERSION).status == 403
    assert calls.delete(place(arm, mine), VERSION).status == 200
