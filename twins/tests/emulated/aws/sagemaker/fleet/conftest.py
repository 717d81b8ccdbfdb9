"""A twin that runs containers for each file, and clients whose requests may not fail."""

from collections.abc import Callable, Iterator

import pytest

from llmops_kit.local_runtime.process_images import build
from tests.support.servers.echo import echo_source
from tests.support.servers.serving import until
from twins.tests.support.aws import RunningTwin, await_status, made_role
from twins.tests.support.aws_fleet import Cloud, Load


@pytest.fixture(scope="module")
def cloud(borrow: Callable[..., RunningTwin], tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    """One twin for this file."""
    twin = borrow(containers="run")
    return Cloud(twin, build(echo_source(tmp_path_factory.mktemp("echo"))), made_role(twin, "serving"))


@pytest.fixture(autouse=True)
def _no_leftovers(cloud: Cloud) -> Iterator[None]:
    yield
    cloud.twin.ask("DELETE", "faults")
    cloud.pace(0.2)
    for name in list(cloud.endpoints):
        await_status(cloud.twin, name, "InService", "Failed")
        cloud.sagemaker.delete_endpoint(EndpointName=name)
    until(lambda: not cloud.twin.ask("GET", "status")["endpoints"])
    cloud.endpoints.clear()


@pytest.fixture
def load(cloud: Cloud) -> Iterator[Callable[[str], Load]]:
    """Start clients of an endpoint; no request of theirs may fail."""
    started: list[Load] = []

    def begin(name: str) -> Load:
        started.append(Load(cloud, name))
        return started[-1]

    yield begin
    for each in started:
        each.stop()
    assert [failure for each in started for failure in each.failures] == []
