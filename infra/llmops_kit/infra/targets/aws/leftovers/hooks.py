"""The hooks that the engine calls before it creates a resource.

The engine records a resource once AWS has answered. If it is killed before that, the resource exists and no state has
it: the next update could not create another one of its name, or would create a second one beside it. What is found
before a creation is in no state, so it is removed if it is bare: see llmops_kit.infra.targets.aws.leftovers.leftover.
"""

import asyncio
from typing import Any

import pulumi

from llmops_kit.clouds.aws.location import AwsLocation
from llmops_kit.clouds.aws.session import require_account
from llmops_kit.infra.targets.aws.leftovers.in_vpc import IN_VPC
from llmops_kit.infra.targets.aws.leftovers.leftover import Leftover
from llmops_kit.infra.targets.aws.leftovers.named import NAMED

_REMOVALS = {**NAMED, **IN_VPC}


def leftover_hooks(location: AwsLocation, name: str, tags: dict[str, str]) -> pulumi.ResourceHookBinding:
    """Returns the hooks of a stack's native resources.

    Args:
        location: the stack's.
        name: of the hook, unique in the program.
        tags: by which the stack's resources are found.
    """

    async def before(args: pulumi.ResourceHookArgs) -> None:
        if args.type in _REMOVALS:
            found = await asyncio.to_thread(remove_left, args.type, args.new_inputs or {}, location, tags)
            for each in found:
                pulumi.log.info(f"{args.name}: {each} is removed: an interrupted update left it")

    # Who may not look or remove is warned, and creates the resource nevertheless.
    options = pulumi.ResourceHookOptions(ignore_errors=True)
    return pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook(name, before, options)])


def remove_left(kind: str, inputs: Any, location: AwsLocation, tags: dict[str, str]) -> list[str]:
    """Removes what is left of a resource that is about to be created; returns the names of what it removed.

    Args:
        kind: Pulumi's name of its type.
        inputs: its declared properties.
        location: the stack's.
        tags: by which the stack's resources are found.
    """
    return _REMOVALS[kind](Leftover(require_account(location), inputs, tags))
