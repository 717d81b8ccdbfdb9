"""Clients of an account that moto stands for."""

from collections.abc import Iterator

import pytest
from moto import mock_aws

from llmops_kit.cli.platforms.aws.clients import AwsClients


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsClients]:
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    # moto has no cost allocation tags.
    monkeypatch.setattr("llmops_kit.cli.platforms.aws.bootstrap.bootstrap.cost_allocation_tag", lambda work: None)
    with mock_aws():
        yield AwsClients()
