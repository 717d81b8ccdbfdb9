"""Programs of a few resources under the real engine, with the stand-in for azure-native, against a twin of Azure."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from llmops_kit.core.twins import owner_headers
from llmops_twins.azure import control
from llmops_twins.azure.entra import certificates
from tests.support.programs import Program
from twins.tests.support.engine import engine_environ

HEAD = "import pulumi\nimport pulumi_azure_native as azure"


@dataclass
class AzureTwin:
    """A running twin."""

    home: Path
    environ: dict[str, str]
    """Of its clients."""

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Call one of the twin's own routes."""
        url = f"{self.environ['AZURE_AUTHORITY_HOST']}/_twin/{path}"
        return self._call(method, url, body, owner_headers("azure", self.environ))

    def arm(self, method: str, path: str, version: str, body: Any = None, **query: str) -> Any:
        """Call Resource Manager as the owner, beside the plugin."""
        token = self._call(
            "GET",
            f"{self.environ['IDENTITY_ENDPOINT']}?api-version=2019-08-01&resource=https://management.azure.com",
            None,
            {"X-IDENTITY-HEADER": self.environ["IDENTITY_HEADER"]},
        )["access_token"]
        url = f"{self.environ['AZURE_AUTHORITY_HOST']}{path}?{urlencode({'api-version': version, **query})}"
        return self._call(method, url, body, {"Authorization": f"Bearer {token}"})

    def exists(self, path: str, version: str) -> bool:
        """Is there such a resource?"""
        try:
            self.arm("GET", path, version)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True

    def _call(self, method: str, url: str, body: Any, headers: dict[str, str]) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=120, context=certificates.client_context(self.home)) as answer:
            return json.loads(answer.read() or b"null")


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureTwin]:
    """A twin of Azure with its stand-in plugin."""
    home = tmp_path_factory.mktemp("azure") / "twin"
    control.up(home, pace=0.2, containers="none", say=lambda _: None)
    try:
        environ = {n: v for n, v in os.environ.items() if not n.startswith(("ARM_", "AZURE_", "PULUMI_"))}
        for name, value in control.environment(home).items():
            environ.pop(name, None)
            environ |= {} if value is None else {name: value}
        yield AzureTwin(home, environ)
    finally:
        control.down(home)


@pytest.fixture
def make_program(tmp_path: Path, azure: AzureTwin) -> Iterator[Callable[..., Program]]:
    """Makes projects, each with an empty stack `one`; the twin forgets what they leave."""
    environ = dict(azure.environ) | engine_environ()
    environ |= {
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state?metadata=skip",
        "PULUMI_HOME": str(tmp_path / "pulumi"),
    }
    (tmp_path / "state").mkdir()

    def make(text: str = "", name: str = "project", stack: str = "one") -> Program:
        program = Program(tmp_path / name, dict(environ), "azure-native", HEAD, stack)
        program.make(text)
        return program

    yield make
    control.reset(azure.home)


@pytest.fixture
def fault(azure: AzureTwin) -> Iterator[Callable[..., None]]:
    """Lets something go wrong on the twin until the test ends."""
    yield lambda **told: azure.admin("PUT", "faults", told)
    azure.admin("DELETE", "faults")
