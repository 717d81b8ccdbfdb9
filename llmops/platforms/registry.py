"""From a target's name to its Platform: the one place that asks which target it is."""

import importlib

from contract.errors import KitError, require_packages
from contract.outputs import StackOutputs
from llmops.platforms.base import Platform

_CLASSES = {
    "local": "llmops.platforms.local:LocalPlatform",
    "aws": "llmops.platforms.aws.platform:AwsPlatform",
}
_EXTRAS = {"aws": ("aws", ("boto3",))}


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
    if extra := _EXTRAS.get(outputs.target):
        require_packages(extra[0], *extra[1])
    module, _, name = _CLASSES[outputs.target].partition(":")
    return getattr(importlib.import_module(module), name)(outputs)
