"""User-assigned identities are principals; their federated credentials have rules."""

from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure.entra import principals
from llmops_twins.azure.services import managedidentity
from tests.support.clouds.azure import Arm, local_twin

V = "2023-01-31"
CREDENTIAL = {"issuer": "https://issuer.test", "subject": "one", "audiences": ["api://AzureADTokenExchange"]}


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    return Arm(local_twin(tmp_path, managedidentity.install))


@pytest.fixture
def identity(arm: Arm) -> str:
    """One that is there."""
    path = f"{arm.group()}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/somebody"
    assert arm.put(path, V, {"location": "westeurope"}).status == 201
    return path


def test_an_identity_is_a_principal_as_long_as_it_is_there(arm: Arm, identity: str) -> None:
    made = arm.get(identity, V).body["properties"]
    found = principals.find(arm.twin, made["principalId"])
    assert found
    assert (found.app_id, found.kind, found.name) == (made["clientId"], "identity", "somebody")
    again = arm.put(identity, V, {"location": "westeurope", "tags": {"a": "b"}})
    assert (again.status, again.body["properties"]) == (200, made)
    arm.delete(identity, V)
    assert principals.find(arm.twin, made["principalId"]) is None
    assert arm.put(identity, V, {"location": "westeurope"}).body["properties"]["principalId"] != made["principalId"]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 409),
        ({"subject": "two"}, 201),
        ({"subject": "two", "audiences": ["a", "b"]}, 400),
        ({"subject": "two", "audience": "a"}, 400),
    ],
)
def test_federated_credentials(arm: Arm, identity: str, changed: dict[str, Any], status: int) -> None:
    place = f"{identity}/federatedIdentityCredentials"
    assert arm.put(f"{place}/first", V, {"properties": CREDENTIAL}).status == 201
    assert arm.put(f"{place}/second", V, {"properties": CREDENTIAL | changed}).status == status


def test_there_are_twenty_credentials_at_most(arm: Arm, identity: str) -> None:
    place = f"{identity}/federatedIdentityCredentials"
    for i in range(managedidentity.MOST_CREDENTIALS):
        assert arm.put(f"{place}/number-{i}", V, {"properties": CREDENTIAL | {"subject": str(i)}}).status == 201
    last = arm.put(f"{place}/one-more", V, {"properties": CREDENTIAL | {"subject": "more"}})
    assert last.code == "TooManyFederatedIdentityCredentials"
