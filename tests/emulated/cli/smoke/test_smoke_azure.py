"""`llmops smoke azure`, in part, with a twin in the account's place; test_interrupted_smoke.py runs all of it."""

import pytest

from tests.emulated.cli.smoke.conftest import Owner, run_short
from tests.support.runs.rehearsing import Rehearsing


@pytest.mark.long("tests/emulated/cli/smoke/test_smoke_aws.py::test_it_passes_and_nothing_is_left_on_aws")
@pytest.mark.parametrize("smoking", ["azure"], indirect=True)
def test_it_passes_and_nothing_is_left_on_azure(
    smoking: Rehearsing, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_short(smoking, owner, monkeypatch)
