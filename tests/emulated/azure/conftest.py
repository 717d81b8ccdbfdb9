"""Stacks on a twin of Azure: the real engine, the real program, the stand-in plugin, Azure's own SDKs."""

import shutil
from collections.abc import Iterator

import pytest

from tests.support.clouds.azure_twin import Subscription, running_twin


@pytest.fixture(scope="module")
def subscription(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subscription]:
    """A subscription for the tests of a module; they use stacks of their own."""
    folder = tmp_path_factory.mktemp("subscription").resolve()
    with running_twin(folder, pace=0.05) as made:
        yield made
    shutil.rmtree(folder, ignore_errors=True)
