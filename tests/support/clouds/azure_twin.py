"""A twin of an Azure subscription as a process of its own, and stacks on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmops_twins.azure.entra import certificates
from tests.support.clients import engine_environ
from tests.support.clouds import twin_stacks
from tests.support.clouds.twin_stacks import SERVING as SERVING
from tests.support.clouds.twin_stacks import TRAINING as TRAINING
from tests.support.clouds.twin_stacks import TwinStack
from twins.tests.support import azure_processes
from twins.tests.support.azure_processes import LOCATION as LOCATION
from twins.tests.support.azure_processes import ArmClient as ArmClient
from twins.tests.support.azure_processes import Subscription as Subscription

AzureStack = TwinStack[Subscription]


@contextmanager
def running_twin(folder: Path, *, containers: str = "none", **options: Any) -> Iterator[Subscription]:
    """Runs a twin whose clients find the engine too, and trust the twin alone where it runs no containers."""
    with azure_processes.running_twin(folder, containers=containers, **options) as subscription:
        subscription.environ |= engine_environ()
        if containers == "none":
            subscription.environ |= trusted(subscription.home)
        yield subscription


def make_stack(twin: Subscription, folder: Path, name: str, *, deploy: bool = True, **settings: Any) -> AzureStack:
    """Makes a stack on a twin, deployed without endpoints."""
    given = {"target": "azure", "azure": {"location": twin.info.location}, **settings}
    return twin_stacks.make_stack(twin, folder, name, given, deploy=deploy)


def trusted(home: Path) -> dict[str, str]:
    """What lets a client trust the twin alone, when nothing has to be fetched from elsewhere.

    Reading the authorities of a machine too, for every connection, takes longer than most requests.
    """
    authority = str(certificates.make(home) / certificates.AUTHORITY)
    return dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), authority)


def role_assignment(principal: str, role_definition: str) -> dict[str, Any]:
    """The body that assigns a role to an application or identity, which may be new."""
    properties = {"principalId": principal, "principalType": "ServicePrincipal", "roleDefinitionId": role_definition}
    return {"properties": properties}
