"""Resources live over the wire, by azure-mgmt-core's own polling: created, blocked, purged, judged."""

import pytest
from azure.core.exceptions import HttpResponseError

from twins.tests.support.azure_processes import GROUPS, ArmClient, Subscription

LOGS, IDENTITIES, ROLES = "2023-09-01", "2023-01-31", "2022-04-01"
CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
PLACE = {"location": "westeurope"}


def refused(problem: pytest.ExceptionInfo[HttpResponseError]) -> str:
    assert problem.value.error
    return str(problem.value.error.code)


def test_a_resource_from_its_first_call_to_its_last(arm: ArmClient) -> None:
    group = f"{arm.root}/resourceGroups/whole-life"
    path = f"{group}/providers/Microsoft.OperationalInsights/workspaces/logs"
    with pytest.raises(HttpResponseError) as problem:
        arm.change("PUT", path, LOGS, PLACE)
    assert refused(problem) == "ResourceGroupNotFound"
    arm.change("PUT", group, GROUPS, PLACE)
    made = arm.change("PUT", path, LOGS, PLACE)
    assert made["properties"]["provisioningState"] == "Succeeded"
    arm.change("DELETE", path, LOGS)
    assert arm.send("GET", path, LOGS).status_code == 404
    back = arm.change("PUT", path, LOGS, PLACE)
    assert back["properties"]["customerId"] == made["properties"]["customerId"]
    arm.change("DELETE", group, GROUPS)
    assert arm.send("HEAD", group, GROUPS).status_code == 404


def test_a_vault_keeps_its_name_after_its_end(arm: ArmClient) -> None:
    group = f"{arm.root}/resourceGroups/vaults"
    arm.change("PUT", group, GROUPS, PLACE)
    path = f"{group}/providers/Microsoft.KeyVault/vaults/kept-name"
    tenant = arm.send("GET", "/tenants", GROUPS).json()["value"][0]["tenantId"]
    properties = {"tenantId": tenant, "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True}
    body = {**PLACE, "properties": properties}
    arm.change("PUT", path, "2024-11-01", body)
    arm.change("DELETE", path, "2024-11-01")
    with pytest.raises(HttpResponseError) as problem:
        arm.change("PUT", path, "2024-11-01", body)
    assert problem.value.status_code == 409
    arm.change(
        "POST",
        f"{arm.root}/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/kept-name/purge",
        "2024-11-01",
    )
    arm.change("PUT", path, "2024-11-01", body)


def test_an_application_may_what_its_roles_say_after_a_time(subscription: Subscription, arm: ArmClient) -> None:
    group = f"{arm.root}/resourceGroups/judged"
    arm.change("PUT", group, GROUPS, PLACE)
    somebody = subscription.application("somebody")
    with somebody.credential() as credential:
        client = subscription.arm(credential)
        identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mine"
        answer = client.send("PUT", identity, IDENTITIES, PLACE)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "AuthorizationFailed")
        role = f"{arm.root}/providers/Microsoft.Authorization/roleDefinitions/{CONTRIBUTOR}"
        given = {"roleDefinitionId": role, "principalId": somebody.object_id, "principalType": "ServicePrincipal"}
        name = "11111111-2222-3333-4444-555555555555"
        assignment = f"{group}/providers/Microsoft.Authorization/roleAssignments/{name}"
        subscription.fault("role_propagation", seconds=3600)
        arm.change("PUT", assignment, ROLES, {"properties": given})
        assert client.send("PUT", identity, IDENTITIES, PLACE).status_code == 403
        arm.change("DELETE", assignment, ROLES)
        subscription.clear_faults()
        arm.change("PUT", assignment, ROLES, {"properties": given})
        while (answer := client.send("PUT", identity, IDENTITIES, PLACE)).status_code == 403:
            pass
        assert answer.status_code == 201
        assert client.send("PUT", assignment, ROLES, {"properties": given}).status_code == 403
        client.close()
    recorded = subscription.admin("GET", "recorded")["recorded"]
    write = "Microsoft.ManagedIdentity/userAssignedIdentities/write"
    found = [(each["action"], each["allowed"]) for each in recorded if each["principal"] == somebody.object_id]
    assert found[:2] == [(write, False), (write, True)]
