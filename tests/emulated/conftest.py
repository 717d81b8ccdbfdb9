"""What emulated tests share."""

import os
from collections.abc import Iterator

import pytest

from llmops_kit.cli.pulumi_engine.warm import kept_warm
from llmops_kit.cli.pulumi_engine.warm_host import VARIABLE
from tests.support.demo import Demo, deployed_demo, made_demo


@pytest.fixture(scope="session", autouse=True)
def warm_programs() -> Iterator[None]:
    """Programs that get this process's environment don't import the clouds' SDKs each time."""
    with kept_warm():
        yield


_HOST = pytest.StashKey[str]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Shows the warm host to a test of this folder, before its fixtures are made."""
    if host := item.config.stash.get(_HOST, ""):
        os.environ[VARIABLE] = host
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Hides it from tests of other folders in this process: a server refuses variables that it doesn't know."""
    try:
        return (yield)
    finally:
        item.config.stash[_HOST] = os.environ.pop(VARIABLE, "")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`make demo`, run once in a session. Who changes its stack puts it back."""
    with made_demo(tmp_path_factory.mktemp("demo") / "llmops") as made:
        yield made


@pytest.fixture(scope="session")
def assistant(demo: Demo) -> Iterator[Demo]:
    """`make demo RECIPE=assistant` in the same checkout: it trains once a machine for the same inputs."""
    with deployed_demo(demo.folder, "assistant") as made:
        yield made
