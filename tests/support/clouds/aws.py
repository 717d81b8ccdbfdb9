"""A twin of an AWS account in a folder of its own, stacks on it, and an inventory of all that it holds."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops_kit.cli.rehearsal.clouds.aws_inventory import inventory
from llmops_twins.aws import control
from tests.support.clients import engine_environ
from tests.support.clouds import twin_stacks
from tests.support.clouds.twin_keys import asked
from tests.support.clouds.twin_stacks import SERVING as SERVING
from tests.support.clouds.twin_stacks import TRAINING as TRAINING
from tests.support.clouds.twin_stacks import TwinStack
from twins.tests.support.aws import session
from twins.tests.support.processes import TwinProcess, running

REGION = "eu-central-1"


@dataclass
class Account(TwinProcess):
    """A running twin of an AWS account."""

    control = control
    clients: dict[str, Any] = field(default_factory=dict, repr=False)

    def client(self, service: str) -> Any:
        """A boto3 client of the account's root, in the region of the twin's clients."""
        if service not in self.clients:
            self.clients[service] = session(self.info.region).client(
                service,
                endpoint_url=self.environ["AWS_ENDPOINT_URL"],
                aws_access_key_id=self.environ["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self.environ["AWS_SECRET_ACCESS_KEY"],
            )
        return self.clients[service]

    @contextmanager
    def quotas(self, limits: dict[str, int]) -> Iterator[None]:
        """The account has these quotas meanwhile."""
        self.set(quotas=limits)
        try:
            yield
        finally:
            self.set(quotas={})

    def set(self, **settings: Any) -> None:
        """Change settings of the twin."""
        url, data = self.environ["AWS_ENDPOINT_URL"], json.dumps(settings).encode()
        with urllib.request.urlopen(asked(self.home, url, "settings", "PUT", data), timeout=60):
            pass

    def strangers_bucket(self, name: str) -> str:
        """Makes a bucket of another account that lets everybody in; its name."""
        url, data = self.environ["AWS_ENDPOINT_URL"], json.dumps({"bucket": name}).encode()
        with urllib.request.urlopen(asked(self.home, url, "strangers", "POST", data), timeout=60):
            return name

    def inventory(self) -> dict[str, Any]:
        """All that the account holds in that region, described; what AWS itself keeps in every account aside."""
        return inventory(self.client)


AwsStack = TwinStack[Account]


@contextmanager
def running_account(
    folder: Path, *, name: str = "twin", containers: str = "none", region: str = REGION, **options: Any
) -> Iterator[Account]:
    """A twin with its state in `folder`/`name`; ended afterwards. It runs no containers unless told to "run" them."""
    with running(Account, folder, name, containers, region=region, **options) as account:
        account.environ |= engine_environ()
        yield account


def make_stack(twin: Account, folder: Path, name: str, *, deploy: bool = True, **settings: Any) -> AwsStack:
    """Makes a stack on a twin, deployed without endpoints."""
    given = {"target": "aws", "aws": {"region": twin.info.region}, **settings}
    return twin_stacks.make_stack(twin, folder, name, given, deploy=deploy)
