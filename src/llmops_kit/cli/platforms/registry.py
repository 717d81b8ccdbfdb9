"""Dispatches the command line's operations to a stack's target; no other module branches on the target."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llmops_kit.clouds.targets import TARGETS, load
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmops_kit.cli.interfaces.image_registry import ImageRegistry
    from llmops_kit.cli.interfaces.operations import Operations
    from llmops_kit.cli.interfaces.platform import Platform, Say
    from llmops_kit.cli.interfaces.recording import Recording
    from llmops_kit.cli.interfaces.sweeper import Sweeper
    from llmops_kit.cli.stacks.locks import Lock
    from llmops_kit.cli.stacks.stack import PulumiStack
    from llmops_kit.core.documents.outputs import StackOutputs


def operations_of(target: str) -> Operations:
    """Returns the record of a target; imports no SDK."""
    return load(TARGETS[target].operations)


def preflight(stack: PulumiStack, say: Say, *, dev: bool, make: bool) -> None:
    """See llmops_kit.cli.interfaces.operations.Preflight."""
    target = operations_of(stack.target)
    target.use(target.preflight, "preflight", _file(stack))(stack, say, dev=dev, make=make)


def twin_of(stack: PulumiStack) -> str:
    """Returns the address of the twin that this shell talks to instead of a stack's cloud; empty if there is none."""
    address = operations_of(stack.target).twin_address
    return address(os.environ) if address else ""


def state_locks(stack: PulumiStack, name: str) -> Callable[[], list[Lock]] | None:
    """Returns a function that lists a stack's locks in a backend in a cloud's storage; None for other backends."""
    scheme, separator, _ = stack.backend.partition("://")
    for target in map(operations_of, TARGETS):
        if separator and target.state_scheme == scheme:
            return target.use(target.state_locks, "locks of states", stack.backend)(stack, name)
    return None


def use_policy(outputs: StackOutputs) -> dict[str, Any]:
    """Returns the permissions for using a deployed stack, without those for its state."""
    target = operations_of(outputs.target)
    return target.use(target.use_policy, "policies", f"stack {outputs.stack}")(outputs)


def recording(stack: PulumiStack) -> Recording:
    """Returns a cloud's part of recording its deployer's permissions."""
    target = operations_of(stack.target)
    return target.use(target.recording, "deployer with a policy", _file(stack))(stack)


def sweeper(stack: PulumiStack) -> Sweeper:
    """Returns a search of a stack's account and region for resources that are in no state."""
    target = operations_of(stack.target)
    make = target.use(target.sweeper, "account to search for orphans", _file(stack))
    return make(target.use(target.clients, "clients", _file(stack))(stack))


def image_registry(stack: PulumiStack) -> ImageRegistry:
    """Returns the repositories of a deployed stack.

    Raises:
        KitError: it is not deployed yet, or this shell talks to another account.
    """
    target, outputs = operations_of(stack.target), stack.outputs()
    return target.use(target.images, "image registry", _file(stack))(outputs)


def open_platform(outputs: StackOutputs) -> Platform:
    """Returns the platform of a deployed stack; imports only that target's code.

    Raises:
        KitError: this version of the kit has no such target.
    """
    if outputs.target not in TARGETS:
        raise KitError(
            f"target {outputs.target} can't be operated by this version",
            where=f"stack {outputs.stack}",
            fix=f"targets: {', '.join(TARGETS)}",
        )
    target = operations_of(outputs.target)
    return target.use(target.platform, "platform", f"stack {outputs.stack}")(outputs)


def _file(stack: PulumiStack) -> str:
    return str(stack.file.path)
