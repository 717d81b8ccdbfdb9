"""From a target's name to its Platform: the one place that asks which target it is."""

import importlib
from typing import TYPE_CHECKING

from contract.errors import KitError, require_packages
from contract.outputs import StackOutputs
from llmops.platforms.base import Platform, Say

if TYPE_CHECKING:
    from llmops.stacks import PulumiStack

_CLASSES = {
    "local": "llmops.platforms.local:LocalPlatform",
    "aws": "llmops.platforms.aws.platform:AwsPlatform",
}
_PREFLIGHTS = {"aws": "llmops.platforms.aws.preflight:preflight"}
_EXTRAS = {"aws": ("aws", "boto3")}


def preflight(stack: "PulumiStack", say: Say, dev: bool) -> None:
    """What a target on a cloud asks for before its stacks are touched; nothing for `local`.

    Raises:
        KitError: what is missing, or would go to the wrong place.
    """
    if place := _PREFLIGHTS.get(stack.target):
        require_packages(*_EXTRAS[stack.target])
        module, _, name = place.partition(":")
        getattr(importlib.import_module(module), name)(stack, say, dev)


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
        require_packages(*extra)
    module, _, name = _CLASSES[outputs.target].partition(":")
    return getattr(importlib.import_module(module), name)(outputs)
