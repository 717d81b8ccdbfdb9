"""Role assignments and definitions as Resource Manager takes, refuses and lists them."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure import faults
from llmops_twins.azure.entra import principals
from llmops_twins.azure.judges import permissions
from llmops_twins.azure.services import authorization, resources
from tests.support.clouds.azure import Arm, local_twin

VERSION = "2022-04-01"
PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
PUSH = "8311e382-0749-4cb8-b61a-304f252e45ec"


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    return Arm(local_twin(tmp_path, authorization.install))


def body(arm: Arm, principal: str, role: str = PULL, **more: Any) -> dict[str, Any]:
    place = f"/subscriptions/{arm.twin.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"
    return {"properties": {"principalId": principal, "roleDefinitionId": place, **more}}


def place(arm: Arm, name: str = "", scope: str = "") -> str:
    scope = scope or arm.group()
    return f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name or uuid.uuid4()}"


def test_an_assignment_is_made_once_and_works(arm: Arm) -> None:
    caller, path = principals.add(arm.twin, "job", "identity"), place(arm)
    made = arm.put(path, VERSION, body(arm, caller.object_id, principalType="ServicePrincipal"))
    assert made.status == 201
    assert made.body["properties"]["scope"] == arm.group()
    assert made.body["properties"]["principalType"] == "ServicePrincipal"
    assert not [name for name in made.body if name.startswith("_")]
    action = "Microsoft.ContainerRegistry/registries/pull/read"
    assert arm.twin.may(caller.object_id, action, arm.group())
    assert arm.put(path, VERSION, body(arm, caller.object_id)).status == 200
    gone = arm.delete(path, VERSION)
    assert (gone.status, gone.body["properties"]["principalId"]) == (200, caller.object_id)
    assert not arm.twin.may(caller.object_id, action, arm.group())
    assert arm.delete(path, VERSION).status == 204


def test_a_fault_lets_an_assignment_work_later(arm: Arm) -> None:
    faults.of(arm.twin).add("role_propagation", {"seconds": 60})
    caller = principals.add(arm.twin, "job", "identity")
    assert arm.put(place(arm), VERSION, body(arm, caller.object_id)).status == 201
    assert not arm.twin.may(caller.object_id, "Microsoft.ContainerRegistry/registries/pull/read", arm.group())


def test_what_azure_refuses_is_refused(arm: Arm) -> None:
    caller, path = principals.add(arm.twin, "job", "identity"), place(arm)
    arm.put(path, VERSION, body(arm, caller.object_id))
    unknown, name = str(uuid.uuid4()), path.rpartition("/")[2]
    plain = {"properties": {"principalId": caller.object_id, "roleDefinitionId": PUSH}}
    cases = [
        (place(arm), body(arm, "nobody"), "InvalidPrincipalId"),
        (place(arm), plain, "BadRequestFormat"),
        (place(arm, name, arm.group("other")), body(arm, caller.object_id), "RoleAssignmentUpdateNotPermitted"),
        (place(arm), body(arm, unknown), "PrincipalNotFound"),
        (place(arm), body(arm, caller.object_id, unknown), "RoleDefinitionDoesNotExist"),
        (place(arm), body(arm, caller.object_id, principalType="User"), "UnmatchedPrincipalType"),
        (place(arm), body(arm, caller.object_id), "RoleAssignmentExists"),
        (path, body(arm, caller.object_id, PUSH), "RoleAssignmentUpdateNotPermitted"),
        (place(arm, "no-guid"), body(arm, caller.object_id, PUSH), "InvalidRoleAssignmentId"),
        (
            place(arm),
            body(arm, caller.object_id, PUSH, condition="x", conditionVersion="2.0"),
            "InvalidCondition",
        ),
        (
            place(arm),
            body(arm, caller.object_id, PUSH, condition="ActionMatches{'a'}", conditionVersion="1.0"),
            "InvalidConditionVersion",
        ),
        (place(arm), {"properties": {"principalId": caller.object_id}}, "InvalidCreateRoleAssignmentRequest"),
    ]
    for each, given, code in cases:
        refused = arm.put(each, VERSION, given)
        assert (refused.status, refused.code) == (409 if code == "RoleAssignmentExists" else 400, code)


def test_a_principal_whose_type_is_told_is_not_looked_for(arm: Arm) -> None:
    new = str(uuid.uuid4())
    made = arm.put(place(arm), VERSION, body(arm, new, principalType="ServicePrincipal"))
    assert (made.status, made.body["properties"]["principalType"]) == (201, "ServicePrincipal")


def test_a_new_principal_is_unknown_for_a_while_unless_its_type_is_told(tmp_path: Path, arm: Arm) -> None:
    home = tmp_path / "slow"
    home.mkdir()
    slow = Arm(local_twin(home, authorization.install, pace=3600.0))
    new = principals.add(slow.twin, "job", "identity").object_id
    refused = slow.put(place(slow), VERSION, body(slow, new))
    assert (refused.status, refused.code) == (400, "PrincipalNotFound")
    assert slow.put(place(slow), VERSION, body(slow, new, principalType="ServicePrincipal")).status == 201
    known = principals.add(arm.twin, "job", "identity").object_id
    assert arm.put(place(arm), VERSION, body(arm, known)).body["properties"]["principalType"] == "ServicePrincipal"


def test_who_may_give_some_roles_gives_and_takes_no_others(arm: Arm) -> None:
    dev, other = (principals.add(arm.twin, name, "application") for name in ("dev", "other"))
    group, administrator = arm.group(), "f58310d9-a9f6-439a-9e8d-f62e7b41a168"
    attribute = "[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals"
    condition = " OR ".join(f"@{place}{attribute} {{{PUSH}}}" for place in ("Request", "Resource"))
    given = body(arm, dev.object_id, administrator, condition=condition, conditionVersion="2.0")
    assert arm.put(place(arm, scope=group), VERSION, given).status == 201
    theirs, mine = str(uuid.uuid4()), str(uuid.uuid4())
    arm.put(place(arm, theirs, scope=group), VERSION, body(arm, other.object_id, administrator))
    calls = Arm(arm.twin, dev)
    assert calls.put(place(arm, mine, scope=group), VERSION, body(arm, other.object_id, PUSH)).status == 201
    assert calls.delete(place(arm, mine, scope=group), VERSION).status == 200
    assert calls.put(place(arm, mine, scope=group), VERSION, body(arm, dev.object_id, administrator)).status == 403
    assert calls.delete(place(arm, theirs, scope=group), VERSION).status == 403


def test_a_contributor_assigns_no_roles(arm: Arm) -> None:
    caller, group = principals.add(arm.twin, "dev", "application"), arm.group()
    authorization.assign(arm.twin, caller.object_id, "Contributor", group)
    refused = Arm(arm.twin, caller).put(place(arm, scope=group), VERSION, body(arm, caller.object_id))
    assert refused.code == "AuthorizationFailed"
    assert "Microsoft.Authorization/roleAssignments/write" in refused.body["error"]["message"]


def test_assignments_are_listed_with_those_above_and_below(arm: Arm) -> None:
    caller, path = principals.add(arm.twin, "job", "identity"), place(arm)
    arm.put(path, VERSION, body(arm, caller.object_id))
    subscription = f"/subscriptions/{arm.twin.subscription}"

    def listed(scope: str, **query: str) -> set[str]:
        found = arm.get(f"{scope}/providers/Microsoft.Authorization/roleAssignments", VERSION, **query).body["value"]
        return {each["properties"]["principalId"] for each in found}

    assert listed(arm.group()) == {caller.object_id, principals.OWNER_ID}
    assert listed(subscription) == {caller.object_id, principals.OWNER_ID}
    assert listed(subscription, **{"$filter": "atScope()"}) == {principals.OWNER_ID}
    assert listed(subscription, **{"$filter": f"principalId eq '{caller.object_id}'"}) == {caller.object_id}
    assert listed(arm.group("other")) == {principals.OWNER_ID}
    to = f"assignedTo('{caller.object_id}')"
    assert listed(subscription, **{"$filter": to}) == {caller.object_id}
    assert listed(subscription, **{"$filter": f"atScope() and {to}"}) == set()
    assert listed(arm.group(), **{"$filter": f"atScope() and {to}"}) == {caller.object_id}


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("roleAssignments", "principalId eq 00000000-0000-0000-0000-00000000000a"),
        ("roleAssignments", "atScope() and principalId eq 'x'"),
        ("roleAssignments", "principalId eq ''"),
        ("roleAssignments", "roleDefinitionId eq 'x'"),
        ("roleDefinitions", "name eq 'x'"),
        ("roleDefinitions", "roleName eq 'x' or type eq 'y'"),
    ],
)
def test_a_filter_that_azure_does_not_have(arm: Arm, what: str, text: str) -> None:
    refused = arm.get(f"{arm.group()}/providers/Microsoft.Authorization/{what}", VERSION, **{"$filter": text})
    assert (refused.status, refused.code) == (400, "UnsupportedQuery")
    assert f"The filter '{text}' is not supported." in refused.body["error"]["message"]


def test_definitions_are_found_by_name_and_built_in_ones_stay(arm: Arm) -> None:
    subscription = f"/subscriptions/{arm.twin.subscription}/providers/Microsoft.Authorization/roleDefinitions"
    (found,) = arm.get(subscription, VERSION, **{"$filter": "roleName eq 'AcrPull'"}).body["value"]
    assert found["name"] == PULL
    assert not arm.get(subscription, VERSION, **{"$filter": "type eq 'CustomRole'"}).body["value"]
    both = arm.get(subscription, VERSION, **{"$filter": "atScopeAndBelow() and type eq 'BuiltInRole'"}).body["value"]
    assert len(both) > 1
    assert arm.get(f"{subscription}/{PULL}", VERSION).body["properties"]["roleName"] == "AcrPull"
    assert arm.delete(f"{subscription}/{PULL}", VERSION).code == "RoleDefinitionIsBuiltIn"


def test_a_custom_role_allows_what_it_says_and_stays_while_it_is_assigned(arm: Arm) -> None:
    scope = f"/subscriptions/{arm.twin.subscription}"
    path = f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{uuid.uuid4()}"
    properties = {
        "roleName": "Puller",
        "assignableScopes": [scope],
        "permissions": [{"actions": ["Microsoft.ContainerRegistry/registries/pull/read"]}],
    }
    assert arm.put(path, VERSION, {"properties": properties}).status == 201
    other = f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{uuid.uuid4()}"
    assert arm.put(other, VERSION, {"properties": properties}).code == "RoleDefinitionWithSameNameExists"
    caller, assignment = principals.add(arm.twin, "job", "identity"), place(arm)
    arm.put(assignment, VERSION, body(arm, caller.object_id, path.rpartition("/")[2]))
    assert arm.twin.may(caller.object_id, "Microsoft.ContainerRegistry/registries/pull/read", arm.group())
    assert not arm.twin.may(caller.object_id, "Microsoft.ContainerRegistry/registries/read", arm.group())
    assert arm.delete(path, VERSION).code == "RoleDefinitionHasAssignments"
    arm.delete(assignment, VERSION)
    assert arm.delete(path, VERSION).body["properties"]["roleName"] == "Puller"
    assert arm.delete(path, VERSION).status == 204


def test_a_custom_role_is_for_its_own_scopes_alone(arm: Arm) -> None:
    name, caller = str(uuid.uuid4()), principals.add(arm.twin, "job", "identity")
    scope = arm.group("theirs")
    path = f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{name}"
    properties = {"roleName": "Puller", "assignableScopes": [scope], "permissions": [{"actions": ["*/read"]}]}
    assert arm.put(path, VERSION, {"properties": properties}).status == 201
    wanted = body(arm, caller.object_id, name)
    assert arm.put(place(arm, scope=f"{scope}s"), VERSION, wanted).code == "ResourceGroupNotFound"
    assert arm.put(place(arm), VERSION, wanted).code == "RoleDefinitionDoesNotExist"
    assert arm.put(place(arm, scope=scope), VERSION, wanted).status == 201


def test_the_owner_begins_with_the_data_too(arm: Arm) -> None:
    scope = f"/subscriptions/{arm.twin.subscription}/resourceGroups/any"
    blob = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write"
    assert arm.twin.may(principals.OWNER_ID, blob, scope, data=True)
    assert arm.twin.may(principals.OWNER_ID, "Microsoft.KeyVault/vaults/keys/sign/action", scope, data=True)
    assert arm.twin.may(principals.OWNER_ID, "Microsoft.Authorization/roleAssignments/write", scope)


def test_an_assignment_whose_condition_cant_be_read_grants_nothing(arm: Arm) -> None:
    dev = principals.add(arm.twin, "dev", "application")
    document = authorization.assign(arm.twin, dev.object_id, "AcrPull", arm.group())
    action = "Microsoft.ContainerRegistry/registries/pull/read"
    assert arm.twin.may(dev.object_id, action, arm.group())
    document["properties"]["condition"] = "@Principal[x] StringEquals 'a'"
    (granted,) = permissions.read(arm.twin.resources.values())[dev.object_id]
    assert granted.condition
    assert not granted.condition(action, {})


def test_names_of_custom_roles_are_unique_over_the_subscriptions_of_the_tenant(arm: Arm) -> None:
    """https://learn.microsoft.com/azure/role-based-access-control/custom-roles#custom-role-properties"""
    theirs = str(uuid.uuid4())
    listed = f"/subscriptions/{theirs}/resourceGroups"
    assert arm.get(listed, "2024-03-01").code == "SubscriptionNotFound"
    resources.add_subscription(arm.twin, theirs)
    assert arm.get(listed, "2024-03-01").status == 403, "it has roles of nobody yet"
    authorization.make_owner(arm.twin, theirs)
    assert arm.get(listed, "2024-03-01").body["value"] == []
    answers = []
    for subscription in (arm.twin.subscription, theirs):
        scope = f"/subscriptions/{subscription}"
        blocks = [{"actions": ["Microsoft.Storage/storageAccounts/read"]}]
        properties = {"roleName": "Reads", "assignableScopes": [scope], "permissions": blocks}
        path = f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{uuid.uuid4()}"
        answers.append(arm.put(path, VERSION, {"properties": properties}))
    assert [each.status for each in answers] == [201, 409]
    assert answers[1].code == "RoleDefinitionWithSameNameExists"
