"""A program of one's own that uses the kit's components on AWS."""

from pathlib import Path

from tests.support.clouds.aws import Account
from tests.support.clouds.component_stacks import SECOND, make_component_stack, require_a_life


def test_a_program_of_ones_own_has_two_stores_and_two_endpoints(account: Account, tmp_path: Path) -> None:
    stack = make_component_stack(account, tmp_path / "office", "aws", SECOND)
    require_a_life(stack)
