"""Who gets as far as an account's blobs, and in which words the others are refused. Nothing here reaches Azurite."""

from pathlib import Path

import pytest
from werkzeug.test import Client, TestResponse

from llmops_twins.azure.blobs.blob_host import BlobApp
from llmops_twins.azure.entra import principals, tokens
from llmops_twins.azure.protocol.calls import Principal
from llmops_twins.azure.services import authorization, storage
from tests.support.clouds.azure import Arm, local_twin

VERSION = "2024-01-01"


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    arm = Arm(local_twin(tmp_path, authorization.install, storage.install))
    body = {"location": "westeurope", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
    path = f"{arm.group()}/providers/Microsoft.Storage/storageAccounts/kitdata"
    arm.put(path, VERSION, {**body, "properties": {"allowSharedKeyAccess": False}})
    arm.pass_time()
    arm.put(f"{path}/blobServices/default/containers/store", VERSION, {})
    return arm


def ask(
    arm: Arm, method: str, path: str, caller: Principal | None, audience: str = tokens.STORAGE[0], **headers: str
) -> TestResponse:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if caller:
        given["Authorization"] = f"Bearer {tokens.issue(arm.twin, caller, audience)}"
    return Client(BlobApp(arm.twin, "kitdata")).open(path, method=method, headers=given)


def test_who_brings_no_token_is_told_where_one_is(arm: Arm) -> None:
    refused = ask(arm, "GET", "/store/x", None)
    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (401, "NoAuthenticationInformation")
    place = f"Bearer authorization_uri={arm.twin.url}/{arm.twin.tenant}/oauth2/authorize"
    assert refused.headers["WWW-Authenticate"] == f"{place} resource_id=https://storage.azure.com"
    assert "<Code>NoAuthenticationInformation</Code>" in refused.text


@pytest.mark.parametrize("query", ["sv=2024-11-04&sr=b&sp=r&se=2030-01-01&sig=abc", "sv=2024-11-04&ss=b&srt=o&sig=abc"])
def test_a_signature_by_the_accounts_key_is_none_where_keys_are_off(arm: Arm, query: str) -> None:
    refused = ask(arm, "GET", f"/store/x?{query}", None)
    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (403, "KeyBasedAuthenticationNotPermitted")
    delegated = ask(arm, "GET", f"/store/x?{query}&skoid=1", None)
    assert delegated.headers["x-ms-error-code"] == "AuthenticationFailed"


@pytest.mark.parametrize("query", ["comp=batch", "restype=service&comp=userdelegationkey"])
def test_what_this_twin_does_not_judge_is_refused(arm: Arm, query: str) -> None:
    refused = ask(arm, "POST", f"/?{query}", principals.OWNER)
    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (400, "UnsupportedQueryParameter")


def test_a_token_for_another_service_is_none(arm: Arm) -> None:
    refused = ask(arm, "GET", "/store/x", principals.OWNER, tokens.VAULT[0])
    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (401, "InvalidAuthenticationInfo")


def test_what_roles_do_not_allow_is_refused(arm: Arm) -> None:
    caller = principals.add(arm.twin, "reader", "application")
    assert ask(arm, "GET", "/store/x", caller).headers["x-ms-error-code"] == "AuthorizationPermissionMismatch"
    owner = principals.add(arm.twin, "boss", "application")
    authorization.assign(arm.twin, owner.object_id, "Owner", f"/subscriptions/{arm.twin.subscription}")
    assert ask(arm, "GET", "/store/x", owner).headers["x-ms-error-code"] == "AuthorizationPermissionMismatch"


def test_who_may_only_add_says_that_nothing_is_there(arm: Arm) -> None:
    scope = f"/subscriptions/{arm.twin.subscription}"
    path = f"{scope}/providers/Microsoft.Authorization/roleDefinitions/00000000-0000-0000-0000-0000000000aa"
    blob = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
    permissions = [{"dataActions": [f"{blob}/add/action"]}]
    properties = {"roleName": "Adder", "permissions": permissions, "assignableScopes": [scope]}
    assert arm.put(path, "2022-04-01", {"properties": properties}).status == 201
    caller = principals.add(arm.twin, "adder", "application")
    body = {"principalId": caller.object_id, "roleDefinitionId": path}
    name = f"{scope}/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-0000000000ab"
    assert arm.put(name, "2022-04-01", {"properties": body}).status == 201
    assert ask(arm, "PUT", "/store/x", caller).headers["x-ms-error-code"] == "AuthorizationPermissionMismatch"
    new = ask(arm, "PUT", "/nowhere/x", caller, If_None_Match="*")
    assert new.headers["x-ms-error-code"] == "ContainerNotFound"  # it was let in


def test_nothing_is_public(arm: Arm) -> None:
    for path, headers in (
        ("/store?restype=container&comp=acl", {}),
        ("/new?restype=container", {"x_ms_blob_public_access": "blob"}),
    ):
        refused = ask(arm, "PUT", path, principals.OWNER, **headers)
        assert (refused.status_code, refused.headers["x-ms-error-code"]) == (409, "PublicAccessNotPermitted")


def test_what_is_not_there_is_not_found(arm: Arm) -> None:
    assert ask(arm, "GET", "/nowhere/x", principals.OWNER).headers["x-ms-error-code"] == "ContainerNotFound"
    assert ask(arm, "POST", "/store", principals.OWNER).headers["x-ms-error-code"] == "UnsupportedQueryParameter"
    arm.delete(f"{arm.group()}/providers/Microsoft.Storage/storageAccounts/kitdata", VERSION)
    assert ask(arm, "GET", "/store/x", principals.OWNER).headers["x-ms-error-code"] == "ResourceNotFound"
