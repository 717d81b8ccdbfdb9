"""One signed tiny version and one server for the tests that leave it as it was."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.models import copy_model, tiny_model
from tests.support.serving import ServingProcess, sign_version


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    """A signed version; read-only."""
    folder = copy_model(tiny_model(), tmp_path_factory.mktemp("version") / "model")
    sign_version(folder, keys)
    return folder


@pytest.fixture(scope="session")
def shared_server(version: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """A ready server; tests leave it as it was."""
    limits = {"LLMOPS_READ_SECONDS": "1", "LLMOPS_WRITE_SECONDS": "1"}
    server = ServingProcess(version, keys, tmp_path_factory.mktemp("logs"), **limits)
    try:
        yield server.wait_ready()
    finally:
        server.kill()


@pytest.fixture
def serve(version: Path, keys: Path, tmp_path: Path) -> Iterator[Callable[..., ServingProcess]]:
    """Starts servers that end with the test: serve(folder=version, **variables)."""
    started: list[ServingProcess] = []

    def start(folder: Path = version, **variables: str) -> ServingProcess:
        started.append(ServingProcess(folder, keys, tmp_path, **variables))
        return started[-1]

    yield start
    for server in started:
        server.kill()
