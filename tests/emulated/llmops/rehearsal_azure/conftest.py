"""A project as a user's, and rehearsals of it on Azure's twin as a user starts them."""

import pytest

from tests.support.rehearsing import Rehearsing, rehearsing_in


@pytest.fixture(scope="module")
def rehearsing(tmp_path_factory: pytest.TempPathFactory) -> Rehearsing:
    return rehearsing_in(tmp_path_factory.mktemp("rehearsed"), "azure")
