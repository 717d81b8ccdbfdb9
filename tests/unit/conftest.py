"""What all unit tests share."""

import sys
from collections.abc import Iterator

import pytest

from tests.support.memory import keep_files_in_memory

keep_files_in_memory()


@pytest.fixture(scope="session", autouse=True)
def _models_of_services() -> Iterator[None]:
    """Reads the model of each AWS service once for all boto3 sessions: it takes longer than most tests."""
    session = sys.modules.get("botocore.session")
    with pytest.MonkeyPatch.context() as patch:
        if session:
            loader = session.create_loader()
            patch.setattr(session, "create_loader", lambda _search_path: loader)
        yield
