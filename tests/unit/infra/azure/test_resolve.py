"""What the program asks the engine about its own stack."""

from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.clouds.azure.session import open_session
from llmops_kit.infra.resource_names import CloudNames
from llmops_kit.infra.targets.azure import resolve
from llmops_kit.infra.targets.azure.inventory import AzureInventory
from llmops_kit.settings.stack_settings import Settings
from tests.support.clouds.settings import resolved
from tests.unit.infra.azure.arm import PLACE, InProcessArm, patch_session


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the engine answers in turn: an error's words, or URNs."""
    given: list[Any] = []

    def invoke(token: str, arguments: dict[str, str]) -> SimpleNamespace:
        assert (token, arguments) == ("pulumi:pulumi:readStackResourceOutputs", {"stackName": "organization/kit/dev"})
        answer = given.pop(0)
        if isinstance(answer, str):
            raise Exception(f"invoke of {token} failed: {answer}")
        return SimpleNamespace(value={"outputs": dict.fromkeys(answer)})

    monkeypatch.setattr(pulumi.runtime, "invoke", invoke)
    monkeypatch.setattr(pulumi, "get_organization", lambda: "organization")
    monkeypatch.setattr(resolve.time, "sleep", lambda _: None)
    return given


def test_a_state_that_is_being_written_is_read_again(answers: list[Any]) -> None:
    urn = "urn:pulumi:dev::kit::llmops:azure:ModelStore$azure-native:keyvault:Vault::vault (kept)"
    answers += ["failed to load checkpoint: EOF", "failed to load checkpoint: EOF", [urn]]
    assert resolve._keys_in_state("kit", "dev") == {"azure-native:keyvault:Vault::vault (kept)"}


@pytest.mark.parametrize("errors", [["no such stack"], ["failed to load checkpoint: EOF"] * 4])
def test_another_error_or_one_that_stays_ends_the_program(answers: list[Any], errors: list[str]) -> None:
    answers += errors
    with pytest.raises(Exception, match=errors[0]):
        resolve._keys_in_state("kit", "dev")
    assert not answers


@pytest.mark.parametrize(
    ("state", "traffic", "left"),
    [("Succeeded", 0, True), ("Failed", 0, False), ("Canceled", 0, False), ("Failed", 100, True)],
)
def test_a_deployment_that_failed_is_left_for_the_preparation_to_remove(
    monkeypatch: pytest.MonkeyPatch, state: str, traffic: int, left: bool
) -> None:
    """But one that has requests, which Azure would not delete."""
    model = {"model": f"chatbot@1@sha256:{'a' * 64}"}
    settings = Settings.model_validate({"target": "azure", "endpoints": {"chat": model}})
    of, arm = AzureInventory(CloudNames("kit", "dev"), AzureLocation.of(PLACE), resolved(settings)), InProcessArm()
    patch_session(monkeypatch, arm)
    entry = of.deployment("chat")
    arm.documents[entry.id] = {"tags": of.tags, "properties": {"provisioningState": state}}
    arm.documents[of.endpoint("chat").id] = {"tags": of.tags, "properties": {"traffic": {entry.name: traffic}}}
    assert resolve._is_left(open_session(of.location), of, entry) is left
