"""Programs of a few resources under the real engine, with the stand-in plugin, against a twin."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from llmops_kit.core.twins import TWIN_ACCOUNT
from llmops_twins.aws import control
from llmops_twins.plugins.aws.provider import AwsProvider
from llmops_twins.plugins.server import serving
from tests.support.clouds.twin_keys import root_environ, root_keys
from tests.support.programs import Program
from twins.tests.support.aws import running_twin
from twins.tests.support.engine import engine_environ

REGION = "eu-central-1"
PROGRAM = """\
import json
import pulumi
import pulumi_aws as aws

{provider}
own = pulumi.ResourceOptions(provider=provider)
"""
PROVIDER = """\
provider = aws.Provider(
    "aws",
    region="{region}",
    allowed_account_ids=["{account}"],
    default_tags={{"tags": {{"team": "models"}}}},
    s3_use_path_style=True,
    skip_metadata_api_check=True,
)
"""


@dataclass
class AwsProgram(Program):
    """`own` are the resource options with the provider."""

    url: str = ""
    home: Path = Path()

    def client(self, service: str) -> Any:
        """A boto3 client of the twin's."""
        return boto3.client(service, region_name=REGION, endpoint_url=self.url, **root_keys(self.home))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the twin."""
    return tmp_path_factory.mktemp("twin")


@pytest.fixture(scope="session")
def twin(home: Path) -> Iterator[str]:
    """The URL of a twin of AWS that judges no permissions."""
    with running_twin(home, pace=0.3) as running:
        yield running.info.url


@pytest.fixture(scope="session")
def plugin(twin: str) -> Iterator[int]:
    """The port of a stand-in plugin."""
    with serving(AwsProvider(twin)) as port:
        yield port


@pytest.fixture
def make_program(tmp_path: Path, home: Path, twin: str, plugin: int) -> Iterator[Callable[..., Program]]:
    """Makes projects, each with an empty stack `one`; the twin forgets what they leave."""
    environ = {n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "PULUMI_"))} | engine_environ()
    environ |= {
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state?metadata=skip",
        "PULUMI_HOME": str(tmp_path / "pulumi"),
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_DEBUG_PROVIDERS": f"aws:{plugin}",
        "AWS_ENDPOINT_URL": twin,
        **root_environ(home),
    }
    (tmp_path / "state").mkdir()

    def make(text: str = "", name: str = "project", stack: str = "one") -> AwsProgram:
        head = PROGRAM.format(provider=PROVIDER.format(region=REGION, account=TWIN_ACCOUNT))
        program = AwsProgram(tmp_path / name, dict(environ), "aws", head, stack, url=twin, home=home)
        program.make(text)
        return program

    yield make
    control.reset(home)
