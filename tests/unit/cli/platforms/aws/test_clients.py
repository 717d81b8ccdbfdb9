"""Which region and account the command line's clients of AWS are for."""

import pytest

from llmops_kit.cli.platforms.aws.clients import AwsClients


@pytest.fixture(autouse=True)
def no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")


def test_the_region_is_that_of_either_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 itself reads AWS_DEFAULT_REGION alone."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert AwsClients().region == "us-east-1"
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert AwsClients().region == "eu-central-1"
    assert AwsClients()("sts").meta.region_name == "eu-central-1"
    assert AwsClients("eu-west-1").region == "eu-west-1"
