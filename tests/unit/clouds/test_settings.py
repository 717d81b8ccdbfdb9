"""A cloud's key of a stack file becomes typed settings, or an error that names the first wrong key."""

from typing import Any

import pytest

from llmops_kit.clouds.aws.settings import AwsSettings
from llmops_kit.clouds.azure.settings import AzureSettings
from llmops_kit.clouds.settings import parse_cloud_settings
from llmops_kit.contract.documents.document import Part
from llmops_kit.contract.errors import SettingError


@pytest.mark.parametrize(("model", "key"), [(AwsSettings, "aws"), (AzureSettings, "azure")])
@pytest.mark.parametrize("config", [{}, {"aws": None, "azure": None}])
def test_a_missing_key_means_defaults(model: type[Part], key: str, config: dict[str, Any]) -> None:
    assert parse_cloud_settings(model, key, config, "Pulumi.dev.yaml") == model()


def test_other_keys_of_the_stack_file_are_ignored() -> None:
    config = {"aws": {"region": "eu-central-1"}, "azure": 5, "target": "aws"}
    assert parse_cloud_settings(AwsSettings, "aws", config, "Pulumi.dev.yaml").region == "eu-central-1"


@pytest.mark.parametrize(
    ("model", "key", "given", "where"),
    [
        (AwsSettings, "aws", {"regoin": "x"}, "Pulumi.dev.yaml: aws.regoin"),
        (AwsSettings, "aws", {"alarms": 3}, "Pulumi.dev.yaml: aws.alarms"),
        (AzureSettings, "azure", {"network": {"mdoe": "x"}}, "Pulumi.dev.yaml: azure.network.mdoe"),
        (AzureSettings, "azure", [1], "Pulumi.dev.yaml: azure"),
    ],
)
def test_a_wrong_key_is_named(model: type[Part], key: str, given: Any, where: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_cloud_settings(model, key, {key: given}, "Pulumi.dev.yaml")
    assert caught.value.where == where
