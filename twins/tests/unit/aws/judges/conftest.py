"""One evaluator for all tests, and a fresh account for each."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmops_twins.aws.judges.permissions import AwsPermissionJudge
from llmops_twins.aws.twin import AccountTwin
from twins.tests.unit.aws.judges.bench import REGION, Bench


@pytest.fixture(scope="session")
def one_judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[AccountTwin], AwsPermissionJudge]]:
    """A judge whose process all tests share."""
    judge = AwsPermissionJudge(AccountTwin(tmp_path_factory.mktemp("twin"), region=REGION))

    def of(twin: AccountTwin) -> AwsPermissionJudge:
        judge._twin = twin
        judge.account.twin = twin
        return judge

    yield of
    judge.close()


@pytest.fixture
def bench(one_judge: Callable[[AccountTwin], AwsPermissionJudge], tmp_path: Path) -> Bench:
    from moto.moto_api._internal.models import moto_api_backend

    moto_api_backend.reset()
    twin = AccountTwin(tmp_path, region=REGION)
    judge = one_judge(twin)
    twin.judge_of_roles = judge.may
    return Bench(twin, judge)
