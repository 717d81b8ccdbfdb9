"""`llmops smoke aws`, in part, with a twin in the account's place; test_interrupted_smoke.py runs all of it."""

import pytest

from tests.emulated.cli.smoke.conftest import Owner, run_short
from tests.support.runs.rehearsing import Rehearsing


@pytest.mark.parametrize("smoking", ["aws"], indirect=True)
def test_it_passes_and_nothing_is_left_on_aws(
    smoking: Rehearsing, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_short(smoking, owner, monkeypatch)
