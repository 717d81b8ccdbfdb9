"""From a target's name to its Platform: the one place that asks which target it is."""

import importlib

from contract.errors import KitError
from contract.outputs import StackOutputs
from llmops.platforms.base import Platform

_CLASSES = {"local": "llmops.platforms.local:LocalPlatform"}


def open_platform(outputs: StackOutputs) -> Platform:
    """The platform of a deployed stack; imports that target's code alone.

    Raises:
        KitError: this kit can't operate the target.
    """
    if outputs.target not in _CLASSES:
        raise KitError(
            f"target {outputs.target} can't be operated by this version",
            where=f"stack {outputs.stack}",
            fix=f"targets: {', '.join(_CLASSES)}",
        )
    module, _, name = _CLASSES[outputs.target].partition(":")
    return getattr(importlib.import_module(module), name)(outputs)
