"""Calls of Azure Resource Manager by the program's dynamic resources."""

from collections.abc import Iterator
from types import SimpleNamespace
from unittest import mock

import pytest
from azure.core.credentials import AccessToken

from llmops_kit.clouds.azure import arm
from llmops_kit.clouds.azure.location import AzureCaller
from llmops_kit.clouds.azure.session import AzureSession, open_session
from llmops_kit.core.errors import KitError
from llmops_kit.infra.targets.azure import online
from tests.unit.clouds.azure.cloud import Cloud
from tests.unit.infra.azure.arm import ENDPOINT, PLACE

ARM = "https://management.azure.com"
OPERATION = "/operations/1"
PROPS = {**PLACE, "endpoint": ENDPOINT}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    made = Cloud()
    token = SimpleNamespace(get_token=lambda *_, **__: AccessToken("token", 9_999_999_999))
    monkeypatch.delenv("ARM_CLOUD_METADATA_URL", raising=False)
    monkeypatch.setattr(AzureSession, "credential", token)
    monkeypatch.setattr(AzureSession, "caller", AzureCaller(PLACE["tenant"], "me", "User"))
    monkeypatch.setattr(arm, "_POLL_SECONDS", 0)
    open_session.cache_clear()
    with mock.patch("requests.adapters.HTTPAdapter.send", lambda *a, **k: made.send(*a, **k)):
        yield made
    open_session.cache_clear()


def endpoint(state: str, **traffic: int) -> dict[str, object]:
    return {"location": "westeurope", "properties": {"provisioningState": state, "traffic": traffic}}


def test_weights_are_set_when_their_operation_has_ended(cloud: Cloud) -> None:
    """Azure may show what was there before, and at rest, until it has."""
    headers = {"Azure-AsyncOperation": f"{ARM}{OPERATION}"}
    cloud.answer("PUT", ENDPOINT, (200, endpoint("Updating", a=100), headers))
    cloud.answer("GET", OPERATION, (200, {"status": "InProgress"}, {}), (200, {"status": "Succeeded"}, {}))
    before, after = (200, endpoint("Succeeded", a=100), {}), (200, endpoint("Succeeded", b=100), {})
    cloud.answer("GET", ENDPOINT, before, after)
    online.put_traffic(PROPS, {"b": 100})
    asked = [(each.method, each.path) for each in cloud.asked]
    assert asked[:4] == [("GET", ENDPOINT), ("PUT", ENDPOINT), ("GET", OPERATION), ("GET", OPERATION)]


def test_weights_that_azure_could_not_set_are_told_in_its_words(cloud: Cloud) -> None:
    cloud.answer("GET", ENDPOINT, (200, endpoint("Succeeded", a=100), {}))
    cloud.answer("PUT", ENDPOINT, (200, endpoint("Updating", a=100), {"Azure-AsyncOperation": f"{ARM}{OPERATION}"}))
    error = {"code": "ResourceNotReady", "message": "the deployment is not ready"}
    cloud.answer("GET", OPERATION, (200, {"status": "Failed", "error": error}, {}))
    with pytest.raises(KitError, match="the deployment is not ready"):
        online.put_traffic(PROPS, {"b": 100})
