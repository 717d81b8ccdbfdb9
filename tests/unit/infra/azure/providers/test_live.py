"""After an endpoint's update: the live configuration is compared with the declared one."""

from typing import Any

import pytest

from llmops_kit.clouds.azure.arm import ResourceManager
from llmops_kit.core.errors import KitError
from llmops_kit.infra.targets.azure import online
from llmops_kit.infra.targets.azure.providers import live
from llmops_kit.infra.targets.dynamic import Properties
from tests.unit.infra.azure.arm import ENDPOINT, PLACE, WORKSPACE, InProcessArm

ENVIRONMENT = f"{WORKSPACE}/environments/serving/versions/1"
MODEL = f"{WORKSPACE}/models/chatbot/versions/2"
LIVE = live.AzureLiveProvider()


def declared(**other: Any) -> Properties:
    return {
        **PLACE,
        "endpoint": ENDPOINT,
        "deployment": "new",
        "traffic": {"new": 100},
        "state": "Succeeded",
        "model_version": MODEL,
        "environment": ENVIRONMENT,
        "image": "r/serving@sha256:1",
        "instance_type": "Standard_DS3_v2",
        "instances": 1,
        "max_instances": 1,
        **other,
    }


@pytest.fixture
def serving(arm: InProcessArm) -> InProcessArm:
    arm.endpoint({"new": 100})
    arm.deploy("new", model=MODEL.upper(), environmentId=ENVIRONMENT, instanceType="STANDARD_DS3_V2")
    arm.documents[ENVIRONMENT] = {"properties": {"image": "r/serving@sha256:1"}}
    return arm


def test_what_is_live_as_declared_is_well(serving: InProcessArm) -> None:
    assert LIVE.create(declared()).outs == declared()
    assert LIVE.read(ENDPOINT, declared()).outs == declared()
    assert serving.traffic == []


@pytest.mark.scorecard("drift")
@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (f"{ENDPOINT}:properties.traffic", {"old": 100}, "traffic"),
        (f"{ENDPOINT}:properties.provisioningState", "Failed", "state"),
        (f"{ENDPOINT}/deployments/new:properties.provisioningState", "Failed", "state"),
        (f"{ENDPOINT}/deployments/new:properties.model", "another", "model_version"),
        (f"{ENDPOINT}/deployments/new:properties.environmentId", "another", "environment"),
        (f"{ENDPOINT}/deployments/new:properties.instanceType", "Standard_F2", "instance_type"),
        (f"{ENDPOINT}/deployments/new:sku.capacity", 3, "instances"),
        (f"{ENVIRONMENT}:properties.image", "r/serving@sha256:2", "image"),
    ],
)
def test_what_is_live_in_another_way_is_told(serving: InProcessArm, path: str, value: Any, key: str) -> None:
    id_, _, members = path.partition(":")
    outer, inner = members.split(".")
    serving.documents[id_][outer][inner] = value
    with pytest.raises(KitError, match=f"{key.replace('_', ' ')} is"):
        LIVE.update("", declared(), declared())
    found = LIVE.read(ENDPOINT, declared()).outs
    assert found
    assert LIVE.diff("", found, declared()).changes


def test_a_deployment_that_is_gone_is_told(serving: InProcessArm) -> None:
    del serving.documents[f"{ENDPOINT}/deployments/new"]
    with pytest.raises(KitError, match="deployment is"):
        LIVE.update("", declared(), declared())


def test_a_scaled_deployment_may_have_any_count_in_its_limits(serving: InProcessArm) -> None:
    serving.documents[f"{ENDPOINT}/deployments/new"]["sku"]["capacity"] = 3
    LIVE.update("", declared(), declared(max_instances=4))


DEPLOYMENT = f"{ENDPOINT}/deployments/new"


@pytest.mark.parametrize("busy", [ENDPOINT, DEPLOYMENT])
@pytest.mark.parametrize("end", ["Succeeded", "Failed"])
def test_an_operation_that_autoscaling_started_is_waited_for(
    serving: InProcessArm, monkeypatch: pytest.MonkeyPatch, busy: str, end: str
) -> None:
    states = iter(["Updating", "Updating", end])
    find = ResourceManager.find

    def found(arm: ResourceManager, id_: str, api_version: str = "") -> Any:
        document = find(arm, id_, api_version)
        if document and id_ == busy:
            document["properties"]["provisioningState"] = next(states, end)
        return document

    monkeypatch.setattr(ResourceManager, "find", found)
    if end == "Succeeded":
        assert LIVE.update("", declared(), declared()).outs == declared()
    else:
        with pytest.raises(KitError, match="state is Failed"):
            LIVE.update("", declared(), declared())
    assert next(states, None) is None


@pytest.mark.parametrize("busy", [ENDPOINT, DEPLOYMENT])
def test_an_operation_without_end_is_an_error_with_the_time_that_it_had(
    serving: InProcessArm, monkeypatch: pytest.MonkeyPatch, busy: str
) -> None:
    serving.documents[busy]["properties"]["provisioningState"] = "Updating"
    monkeypatch.setattr(online, "_WAIT_SECONDS", 0.0)
    with pytest.raises(KitError, match=r"Updating.* 0 minutes"):
        LIVE.update("", declared(), declared())
