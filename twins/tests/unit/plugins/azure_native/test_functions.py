"""The plugin's functions."""

import base64
import json
from typing import Any

import pytest

from llmops_twins.plugins.azure_native.rules import actions, rules
from llmops_twins.plugins.plugin import ProviderError
from twins.tests.unit.plugins.azure_native.tiny_arm import GROUP, SUBSCRIPTION, TinyArm, provider, session

CLAIMS = {"oid": "object", "appid": "application", "tid": "tenant"}


def invoke(token: str, arguments: dict[str, Any], arm: TinyArm | None = None, bearer: str = "token") -> dict[str, Any]:
    there = session(arm or TinyArm())
    there.reached().token = lambda _: bearer
    found, failures = provider().invoke(there, f"azure-native:{token}", arguments)
    assert failures == []
    return found


def test_who_calls_is_told_from_the_token() -> None:
    payload = base64.urlsafe_b64encode(json.dumps(CLAIMS).encode()).decode().rstrip("=")
    assert invoke("authorization:getClientConfig", {}, bearer=f"a.{payload}.c") == {
        "clientId": "application",
        "objectId": "object",
        "subscriptionId": SUBSCRIPTION,
        "tenantId": "tenant",
    }
    assert invoke("authorization:getClientToken", {}) == {"token": "token"}


def test_what_is_there_is_got() -> None:
    arm = TinyArm()
    path = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/a"
    arm.kept[path] = {"id": path, "name": "a", "properties": {"networkAcls": {"defaultAction": "Deny"}}}
    found = invoke("storage:getStorageAccount", {"resourceGroupName": "group", "accountName": "a"}, arm)
    assert found == {
        "id": path,
        "name": "a",
        "networkRuleSet": {"defaultAction": "Deny"},
        "azureApiVersion": "2024-01-01",
    }
    with pytest.raises(ProviderError, match='Status=404 Code="ResourceNotFound"'):
        invoke("storage:getStorageAccount", {"resourceGroupName": "group", "accountName": "b"})


@pytest.mark.parametrize("token", actions())
def test_every_action_is_posted(token: str) -> None:
    kind, action = actions()[token]
    arguments = dict.fromkeys(rules(kind).parameters.values(), "one")
    assert invoke(token.removeprefix("azure-native:"), arguments) == {"posted": action}
    _, failures = provider().invoke(session(TinyArm()), token, {})
    assert len(failures) == len(arguments)


def test_others_are_not_known() -> None:
    with pytest.raises(ProviderError, match="does not know the function azure-native:sql:getServer"):
        invoke("sql:getServer", {})
