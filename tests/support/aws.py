"""A twin of an AWS account in a folder of its own, stacks on it, and an inventory of all that it holds."""

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import boto3

from contract.documents.outputs import StackOutputs
from contract.layout import MANIFEST
from llmops.platforms.registry import open_platform
from llmops.rehearsal.clouds.aws_inventory import inventory
from tests.support import stacks
from tests.support.clients import client_environ
from tests.support.models import copy_model, tiny_model
from tests.support.twin_keys import asked
from twins.aws import control

REGION = "eu-central-1"
SERVING = f"process:serving@sha256:{'5' * 64}"
TRAINING = f"process:training@sha256:{'7' * 64}"


@dataclass
class Account:
    """A running twin."""

    home: Path
    environ: dict[str, str]
    """What a client of the twin is started with; it holds the engine and the twin's own state backend too."""
    clients: dict[str, Any] = field(default_factory=dict, repr=False)
    region: str = REGION
    """Of the clients."""

    def client(self, service: str) -> Any:
        """A boto3 client of the account's root."""
        if service not in self.clients:
            self.clients[service] = self._session().client(service, endpoint_url=self.environ["AWS_ENDPOINT_URL"])
        return self.clients[service]

    def _session(self) -> boto3.Session:
        return boto3.Session(
            aws_access_key_id=self.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environ["AWS_SECRET_ACCESS_KEY"],
            region_name=self.region,
        )

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This process's environment is the one of the twin's clients meanwhile."""
        with mock.patch.dict(os.environ, self.environ, clear=True):
            yield

    def fault(self, kind: str, **members: Any) -> None:
        """Let something go wrong from now on (twins/aws/faults.py)."""
        self._admin("PUT", {"kind": kind, **members})

    def clear_faults(self) -> None:
        """Let nothing more go wrong."""
        self._admin("DELETE", None)

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
        self._admin("PUT", settings, "settings")

    def _admin(self, method: str, body: Any, route: str = "faults") -> None:
        data = body if body is None else json.dumps(body).encode()
        request = asked(self.home, self.environ["AWS_ENDPOINT_URL"], route, method, data)
        with urllib.request.urlopen(request, timeout=60):
            pass

    def inventory(self) -> dict[str, Any]:
        """All that the account holds, described; what AWS itself keeps in every account aside."""
        return inventory(self.client)


@contextmanager
def running_account(folder: Path, *, name: str = "twin", containers: str = "none", **options: Any) -> Iterator[Account]:
    """A twin with its state in `folder`/`name`; ended afterwards. It runs no containers unless told to "run" them."""
    home = folder / name
    control.up(home, say=lambda _: None, containers=containers, **options)
    try:
        yield Account(home, client_environ(control.environment(home)))
    finally:
        control.down(home)


@dataclass
class AwsStack(stacks.Stack):
    """A stack on a twin."""

    account: Account | None = None

    def add_version(self, alias: str, licence: str = "") -> str:
        """Put the tiny model into the stack's store, signed with its key; what a promotion writes."""
        assert self.account
        folder = copy_model(tiny_model(), self.folder / "incoming" / alias)
        manifest = json.loads((folder / MANIFEST).read_text()) | {"name": alias.partition("@")[0]}
        manifest |= {"licence": licence} if licence else {}
        (folder / MANIFEST).write_text(json.dumps(manifest))
        with self.account.entered():
            platform = open_platform(StackOutputs.parse(json.dumps(self.outputs()), where="outputs"))
            ref = platform.store().put_model(folder, platform.sign)
        return f"{ref.alias}@sha256:{ref.sha256}"

    def serve(self, name: str, model: str, **fields: Any) -> None:
        """Write an entry. The tiny model was never evaluated, so its gate is waived."""
        self.entries[name] = {"model": model, "gate": "waived", **fields}


def make_stack(account: Account, folder: Path, name: str, *, deploy: bool = True, **settings: Any) -> AwsStack:
    """A stack in the account, deployed without endpoints."""
    defaults = {"target": "aws", "aws": {"region": REGION}, "images": {"serving": SERVING, "training": TRAINING}}
    stack = AwsStack(folder, name, account.environ, settings=defaults | settings, account=account)
    stack.make()
    if deploy:
        stack.up()
    return stack
