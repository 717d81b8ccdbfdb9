"""A twin of Azure within the process whose hosts really listen, over TLS: for real clients of its data planes."""

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.core.credentials import AccessToken

from llmops_twins.azure.entra import certificates, principals, tokens
from llmops_twins.azure.listeners import Listeners
from llmops_twins.azure.protocol.calls import Principal
from llmops_twins.azure.services import authorization
from llmops_twins.azure.twin import TenantTwin
from tests.support.clouds.azure import Arm, local_twin

LOCATION = "westeurope"


@dataclass
class Credential:
    """A credential of Azure's SDKs for a principal of the twin."""

    twin: TenantTwin
    caller: Principal

    def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
        """A token for what a client asks for."""
        audience = scopes[0].removesuffix("/.default")
        return AccessToken(tokens.issue(self.twin, self.caller, audience), int(time.time()) + 3600)


@dataclass
class Hosts:
    """The twin, its ARM as the owner, and what a client trusts."""

    twin: TenantTwin
    arm: Arm
    trusted: str

    def credential(self, caller: Principal = principals.OWNER) -> Credential:
        return Credential(self.twin, caller)

    def principal(self, name: str, **roles: str) -> Principal:
        """A principal with roles (`AcrPull="/subscriptions/…"`, underscores for blanks) that work at once."""
        with self.twin.lock:
            caller = principals.add(self.twin, name, "application")
            for role, scope in roles.items():
                authorization.assign(self.twin, caller.object_id, role.replace("_", " "), scope)
        return caller

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.trusted)


@contextmanager
def running_hosts(home: Path, **settings: Any) -> Iterator[Hosts]:
    """A twin with its state in memory and its files in `home`; its clock runs."""
    home.mkdir(parents=True, exist_ok=True)
    twin = local_twin(home, **settings)
    listeners = Listeners(home)
    twin.listen = listeners.add
    twin.url = listeners.add("main", _nobody)
    twin.start()
    try:
        yield Hosts(twin, Arm(twin), str(certificates.make(home) / certificates.AUTHORITY))
    finally:
        listeners.close()
        twin.close()


def _nobody(_environ: dict[str, Any], start: Any) -> list[bytes]:
    start("404 Not Found", [])
    return []
