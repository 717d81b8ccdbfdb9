"""What emulated tests share."""

from collections.abc import Iterator

import pytest

from tests.support.demo import Demo, made_demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`make demo`, run once in a session. Who changes its stack puts it back."""
    with made_demo(tmp_path_factory.mktemp("demo") / "llmops") as made:
        yield made
