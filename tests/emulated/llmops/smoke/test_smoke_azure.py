"""`llmops smoke azure`, whole, with a twin in the account's place."""

import pytest

from tests.emulated.llmops.smoke.conftest import Owner, run_recorded
from tests.support.rehearsing import Rehearsing


@pytest.mark.parametrize("smoking", ["azure"], indirect=True)
def test_every_step_passes_and_nothing_is_left_on_azure(smoking: Rehearsing, owner: Owner) -> None:
    run_recorded(smoking, owner)
