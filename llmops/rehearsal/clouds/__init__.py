"""What a rehearsal asks of a cloud in that cloud's own words; everything else of a rehearsal is the same for all."""

import importlib

from contract.errors import KitError
from llmops.rehearsal.clouds.cloud import Cloud

_CLOUDS = {"aws": "llmops.rehearsal.clouds.aws:Aws", "azure": "llmops.rehearsal.clouds.azure:Azure"}


def names() -> tuple[str, ...]:
    """The clouds that can be rehearsed."""
    return tuple(_CLOUDS)


def find_cloud(name: str) -> Cloud:
    """The cloud of a target's name; its packages are imported when it is asked for something.

    Raises:
        KitError: there is none.
    """
    if name not in _CLOUDS:
        raise KitError(f"there is no rehearsal for target {name}", fix=f"one of {', '.join(_CLOUDS)}")
    module, _, attribute = _CLOUDS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)()
