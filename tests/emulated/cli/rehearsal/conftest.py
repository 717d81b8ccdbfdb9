"""A project as a user's, rehearsals in it as a user starts them, and one whole rehearsal of it on each cloud's twin."""

from typing import Any

import pytest

from tests.support.runs.rehearsing import Rehearsing, rehearsing_in


@pytest.fixture(scope="module")
def rehearsing(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Rehearsing:
    """On the twin of the module's cloud, or of the one that a test names."""
    cloud = request.param if hasattr(request, "param") else request.module.CLOUD.target
    return rehearsing_in(tmp_path_factory.mktemp("rehearsed"), cloud)


@pytest.fixture(scope="module")
def printed(rehearsing: Rehearsing, request: pytest.FixtureRequest) -> str:
    """The whole rehearsal, with the module's `FAULTS`, each in a step of its own; what it printed."""
    return rehearsing.run(*(word for fault in request.module.FAULTS for word in ("--fault", fault)))


@pytest.fixture(scope="module")
def report(rehearsing: Rehearsing, printed: str) -> dict[str, Any]:
    assert printed
    return rehearsing.report()
