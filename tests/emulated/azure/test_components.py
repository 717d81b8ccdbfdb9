"""A program of one's own that uses the kit's components on Azure."""

from pathlib import Path

from tests.support.clouds.azure_twin import Subscription
from tests.support.clouds.component_stacks import SECOND, make_component_stack, require_a_life


def test_a_program_of_ones_own_has_two_stores_and_two_endpoints(subscription: Subscription, tmp_path: Path) -> None:
    stack = make_component_stack(subscription, tmp_path / "office", "azure", SECOND)
    require_a_life(stack)
