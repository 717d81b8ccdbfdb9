"""Parts of a rehearsal that depend on the cloud."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmops_kit.cli.interfaces.operations import Lazy
from llmops_kit.core.errors import UnsupportedError

if TYPE_CHECKING:
    from llmops_kit.cli.rehearsal.cloud import Cloud

_CLOUDS: dict[str, Lazy[Callable[[], "Cloud"]]] = {
    "aws": Lazy("llmops_kit.cli.rehearsal.clouds.aws:Aws"),
    "azure": Lazy("llmops_kit.cli.rehearsal.clouds.azure:Azure"),
}


def find_cloud(name: str) -> "Cloud":
    """Returns the cloud of a target; its packages are imported when they are used.

    Raises:
        UnsupportedError: there is none.
    """
    if name not in _CLOUDS:
        raise UnsupportedError(f"there is no rehearsal for target {name}", fix=f"one of {', '.join(_CLOUDS)}")
    return _CLOUDS[name].load()()
