"""A project as a user's, and smoke tests in it as a user starts them; a twin stands in for the account."""

import pytest

from tests.support.rehearsing import Rehearsing, rehearsing_in


@pytest.fixture
def smoking(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Rehearsing:
    made = rehearsing_in(tmp_path_factory.mktemp("smoked"), request.param)
    made.verb = "smoke"
    return made
