"""What a deployment's containers should be, from its documents."""

from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure.ml.running import environment_images, plans
from llmops_twins.azure.ml.running.cloud import failure_of
from llmops_twins.azure.ml.running.plans import RequestSettings
from llmops_twins.core.fleet.plan import ContainerPlan
from twins.tests.unit.azure.services.workspace import Workspace

MOUNT = "/var/azureml-app/azureml-models/chat/1"


@pytest.fixture
def ml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(environment_images, "runnable", lambda _twin, image: (f"docker:{image}", []))
    return Workspace(tmp_path, pace=0.5).make()


def container(ml: Workspace, **properties: Any) -> ContainerPlan:
    body = ml.deployment(**properties)
    return plans.container_of(ml.twin, {**body, "id": f"{ml.id}/onlineEndpoints/chat/deployments/blue"})


def test_the_models_folder_and_variable(ml: Workspace) -> None:
    found = container(ml, environmentVariables={"A": "b"})
    assert [(each.uri, each.path) for each in found.data] == [("azureml://datastores/store/paths/models/a", MOUNT)]
    assert found.environ == {"AZUREML_MODEL_DIR": MOUNT, "A": "b"}
    moved = container(ml, modelMountPath="/mnt/models/")
    assert moved.environ == {"AZUREML_MODEL_DIR": "/mnt/models/chat/1"}


def test_routes_and_numbers_of_probes(ml: Workspace) -> None:
    liveness = {"initialDelay": "PT30S", "period": "PT20S", "timeout": "PT7S", "failureThreshold": 5}
    found = container(ml, livenessProbe=liveness)
    assert found.start_seconds == 30 + 20 * 5
    assert found.live
    assert (found.live.path, found.live.timeout, found.live.failures) == ("/health/live", 7, 5)
    assert (found.ready.path, found.ready.timeout, found.ready.failures) == ("/health/ready", 2, 30)
    assert found.live.every == 1.0  # paced, but not below a second
    assert container(ml, startupProbe={"initialDelay": "PT1M", "failureThreshold": 9}).start_seconds == 150


def test_request_settings() -> None:
    assert RequestSettings.of({"properties": {}}) == RequestSettings(1, 5.0)
    given = {"maxConcurrentRequestsPerInstance": 4, "requestTimeout": "PT1M30S"}
    assert RequestSettings.of({"properties": {"requestSettings": given}}) == RequestSettings(4, 90.0)


def test_a_problem_has_a_code_and_a_message() -> None:
    found = failure_of("ResourceNotReady: it: ended")
    assert (found.code, found.message) == ("ResourceNotReady", "it: ended")
