"""Stacks on a twin of AWS: the real engine, the real program, the stand-in plugin, real boto3."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.clouds.aws import REGION, Account, AwsStack, make_stack, running_account

MakeStack = Callable[..., AwsStack]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account for the tests of a module; they use stacks of their own."""
    folder = tmp_path_factory.mktemp("account").resolve()
    with running_account(folder, pace=0.05, region=REGION) as made:
        yield made
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make(account: Account, tmp_path: Path) -> MakeStack:
    """Makes stacks in the account: `make("dev")`."""
    return lambda name, **settings: make_stack(account, tmp_path / name, name, **settings)


def physical(stack: AwsStack, endpoint: str) -> str:
    """The endpoint's name on SageMaker."""
    return stack.outputs()["aws"]["endpoints"][endpoint]
