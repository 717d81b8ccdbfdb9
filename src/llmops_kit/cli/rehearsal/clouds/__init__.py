"""Parts of a rehearsal that depend on the cloud."""

from typing import TYPE_CHECKING

from llmops_kit.clouds.targets import TARGETS, cloud_names
from llmops_kit.core.errors import UnsupportedError

if TYPE_CHECKING:
    from llmops_kit.cli.rehearsal.cloud import Cloud


def find_cloud(name: str) -> "Cloud":
    """Returns the cloud of a target; its packages are imported when they are used.

    Raises:
        UnsupportedError: there is none.
    """
    from llmops_kit.cli.platforms.registry import operations_of

    rehearsal = operations_of(name).rehearsal if name in TARGETS else None
    if rehearsal is None:
        raise UnsupportedError(f"there is no rehearsal for target {name}", fix=f"one of {', '.join(cloud_names())}")
    return rehearsal.load()()
