"""What all unit tests share."""

import sys
from collections.abc import Iterator

import pytest

from tests.support.memory import keep_files_in_memory

keep_files_in_memory()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keeps torch out of processes that have no test of training: importing it takes longer than most of their tests.

    Raises:
        UsageError: a module of another test imports it.
    """
    if "torch" in sys.modules and not any("/unit/training/" in item.nodeid for item in session.items):
        raise pytest.UsageError(
            "a test outside tests/unit/training imports torch when collected: import it in the test"
        )


@pytest.fixture(scope="session", autouse=True)
def _models_of_services() -> Iterator[None]:
    """Reads the model of each AWS service once for all boto3 sessions: it takes longer than most tests."""
    session = sys.modules.get("botocore.session")
    with pytest.MonkeyPatch.context() as patch:
        if session:
            loader = session.create_loader()
            patch.setattr(session, "create_loader", lambda _search_path: loader)
        yield
