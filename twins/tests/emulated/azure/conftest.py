"""Real twins of Azure: processes of their own, spoken to by Azure's SDKs over TLS."""

from collections.abc import Iterator

import pytest

from twins.tests.support.azure_processes import ArmClient, Subscription, running_twin


@pytest.fixture(scope="module")
def subscription(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subscription]:
    """A twin of this module's own, in whose environment this process is."""
    with running_twin(tmp_path_factory.mktemp("azure"), pace=0.1) as running, running.entered():
        yield running


@pytest.fixture(scope="module")
def arm(subscription: Subscription) -> Iterator[ArmClient]:
    """Resource Manager as the owner."""
    client = subscription.arm()
    yield client
    client.close()
