"""A company gives everything that stands: a deployer who may assign no role, and what the program declares then."""

import json
import uuid
from dataclasses import replace
from typing import Any

import pytest

from clouds.azure.roles import BUILT_IN
from tests.support.clouds.azure_twin import LOCATION, AzureStack, Subscription, make_stack

ASSIGNMENTS = "2022-04-01"
KEPT = " (llmops down keeps it)"


@pytest.fixture(scope="module")
def own_key(subscription: Subscription) -> tuple[str, str]:
    """The company's vault and the key that encrypts what is kept."""
    return company_key(subscription)


@pytest.fixture(scope="module")
def company(
    subscription: Subscription, own_key: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AzureStack:
    """A stack under the company's own key, which another one is given."""
    vault, key = own_key
    settings = {"location": LOCATION, "budget": {"monthly_usd": 0}, "encryption": {"key": key, "vault": vault}}
    return make_stack(subscription, tmp_path_factory.mktemp("company").resolve(), "company", azure=settings)


def test_with_all_given_no_role_is_assigned_and_nothing_that_stands_is_made(
    subscription: Subscription, company: AzureStack
) -> None:
    given = given_by(company)
    deployer = contributor_of(subscription, given)
    before = assignments(subscription)

    stack = make_stack(deployer, company.folder.with_name("team"), "t" * 40, deploy=False, azure=given)
    stack.serve("chat", company.add_version("chatbot@1"))
    stack.up()
    assert stack.changes() == {}
    declared = {each["type"] for each in resources(stack) if each["type"].startswith("azure-native:")}
    assert {kind.split(":")[1] for kind in declared} == {"machinelearningservices", "monitor"}
    assert "azure-native:machinelearningservices:Workspace" not in declared
    assert assignments(subscription) == before
    assert list(subscription.admin("GET", "status")["endpoints"].values()) == ["Succeeded"]

    # The same deployer can't make what is not given.
    del stack.settings["azure"]["identities"]
    assert "does not have authorization to perform action 'Microsoft.Authorization/roleAssignments/write'" in stack.up(
        refused=True
    )


def test_a_companys_own_key_encrypts_what_is_kept(
    subscription: Subscription, company: AzureStack, own_key: tuple[str, str]
) -> None:
    (vault, key), stack = own_key, company
    stack.pulumi("refresh", "--yes")
    assert stack.changes() == {}
    live = {each["urn"].rpartition("::")[2]: each["outputs"] for each in resources(stack) if "outputs" in each}
    identity = live["identity-workspace"]["clientId"]
    storage = live[f"storage{KEPT}"]["encryption"]
    assert storage["keySource"] == "Microsoft.Keyvault"
    properties = storage["keyVaultProperties"]
    parts = (properties["keyVaultUri"].rstrip("/"), "keys", properties["keyName"], properties["keyVersion"])
    assert "/".join(parts) == key
    workspace = live[f"workspace{KEPT}"]["encryption"]
    assert workspace["keyVaultProperties"] == {
        "keyIdentifier": key,
        "keyVaultArmId": vault,
        "identityClientId": identity,
    }
    registry = live[f"registry{KEPT}"]["encryption"]
    assert (registry["status"], registry["keyVaultProperties"]["keyIdentifier"]) == ("enabled", key)
    assert registry["keyVaultProperties"]["identity"] == identity
    assert any(each.startswith(vault) for each in assignments(subscription)), "who encrypts may use the key"


def company_key(subscription: Subscription) -> tuple[str, str]:
    """A vault with purge protection, and an RSA key in it: resource id and versioned URL."""
    group = f"/subscriptions/{subscription.info.subscription}/resourceGroups/keys"
    vault = f"{group}/providers/Microsoft.KeyVault/vaults/own-keys"
    protected = {"enableRbacAuthorization": True, "enableSoftDelete": True, "enablePurgeProtection": True}
    rights = {"tenantId": subscription.info.tenant, "sku": {"family": "A", "name": "standard"}, **protected}
    with subscription.entered():
        client = subscription.arm()
        client.change("PUT", group, "2024-03-01", {"location": LOCATION})
        client.change("PUT", vault, "2024-11-01", {"location": LOCATION, "properties": rights})
        rsa = {"properties": {"kty": "RSA", "keySize": 2048, "keyOps": ["wrapKey", "unwrapKey"]}}
        made = client.change("PUT", f"{vault}/keys/data", "2024-11-01", rsa)
        client.close()
    return vault, made["properties"]["keyUriWithVersion"]


def given_by(company: AzureStack) -> dict[str, Any]:
    """Settings that take everything of another stack."""
    ids = {each["urn"].rpartition("::")[2]: each.get("id", "") for each in resources(company)}
    key = company.outputs()["signing"]["private_key"].removeprefix("azurekeyvault://")
    return {
        "resource_group": ids[f"group{KEPT}"],
        "storage_account": ids[f"storage{KEPT}"],
        "store_container": "store",
        "work_container": "work",
        "vault": ids[f"vault{KEPT}"],
        "signing_key": f"https://{key}",
        "registry": ids[f"registry{KEPT}"],
        "metrics": ids[f"metrics{KEPT}"],
        "workspace": ids[f"workspace{KEPT}"],
        "identities": {name: ids[f"identity-{name}"] for name in ("training", "endpoint")},
    }


def contributor_of(subscription: Subscription, given: dict[str, Any]) -> Subscription:
    """The subscription as somebody reaches it who may change the group, its data and its key, and assigns no role."""
    somebody = subscription.application("deployer")
    wanted = {
        "Contributor": given["resource_group"],
        "Storage Blob Data Contributor": given["storage_account"],
        "Key Vault Crypto User": given["vault"],
    }
    root = f"/subscriptions/{subscription.info.subscription}/providers/Microsoft.Authorization/roleDefinitions"
    with subscription.entered():
        client = subscription.arm()
        for role, scope in wanted.items():
            properties = {"roleDefinitionId": f"{root}/{BUILT_IN[role]}", "principalId": somebody.object_id}
            id_ = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
            body = {"properties": {**properties, "principalType": "ServicePrincipal"}}
            client.change("PUT", id_, ASSIGNMENTS, body)
        client.close()
    own = subscription.admin("POST", "headers", {"object_id": somebody.object_id})
    own |= {"AZURE_CLIENT_ID": somebody.client_id, "ARM_CLIENT_ID": somebody.client_id}
    return replace(subscription, environ={**subscription.environ, **own, "ARM_CLIENT_SECRET": somebody.client_secret})


def assignments(subscription: Subscription) -> set[str]:
    """Ids of all role assignments in the subscription."""
    with subscription.entered():
        client = subscription.arm()
        path = "{sub}/providers/Microsoft.Authorization/roleAssignments"
        found = client.send("GET", path, ASSIGNMENTS).json()["value"]
        client.close()
    return {each["id"] for each in found}


def resources(stack: AzureStack) -> list[dict[str, Any]]:
    """What the stack's state holds."""
    state = stack.state()
    return json.loads(state[state.index("{") :])["deployment"]["resources"]
