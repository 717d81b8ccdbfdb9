"""What a rehearsal asks of a cloud in that cloud's own words; everything else of a rehearsal is the same for all."""

from typing import TYPE_CHECKING

from llmops_kit.clouds.targets import TARGETS, cloud_names
from llmops_kit.contract.errors import UnsupportedError

if TYPE_CHECKING:
    from llmops_kit.cli.rehearsal.clouds.cloud import Cloud


def find_cloud(name: str) -> "Cloud":
    """Returns the cloud of a target; imports its packages when something is asked of it.

    Raises:
        UnsupportedError: there is none.
    """
    from llmops_kit.cli.platforms.registry import operations_of

    rehearsal = operations_of(name).rehearsal if name in TARGETS else None
    if rehearsal is None:
        raise UnsupportedError(f"there is no rehearsal for target {name}", fix=f"one of {', '.join(cloud_names())}")
    return rehearsal.load()()
