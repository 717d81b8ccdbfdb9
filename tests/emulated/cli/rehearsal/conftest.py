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
def whole(rehearsing: Rehearsing, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The whole rehearsal, each of the module's `FAULTS` in its own step: what it printed, and the report it left."""
    said = rehearsing.run(*(word for fault in request.module.FAULTS for word in ("--fault", fault)))
    return said, rehearsing.report()


@pytest.fixture(scope="module")
def printed(whole: tuple[str, dict[str, Any]]) -> str:
    return whole[0]


@pytest.fixture(scope="module")
def report(whole: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return whole[1]
