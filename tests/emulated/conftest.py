"""What emulated tests share."""

from collections.abc import Iterator

import pytest

from llmops_kit.cli.pulumi_engine.warm import kept_warm
from tests.support.demo import Demo, deployed_demo, made_demo


@pytest.fixture(scope="session", autouse=True)
def warm_programs() -> Iterator[None]:
    """Programs that get this process's environment don't import the clouds' SDKs each time."""
    with kept_warm():
        yield


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
