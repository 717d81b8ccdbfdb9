"""Requires that a cloud stack's state is shared, and that a key of the account encrypts its secrets."""

from collections.abc import Callable
from typing import Any

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.platforms.plugin import Plugin, require_plugin
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.core.errors import KitError

_DEV = "`--dev` accepts it anyway, for a stack that is yours alone"


def prepare_state(
    stack: PulumiStack,
    plugin: Plugin,
    twin: str,
    secrets_provider: Callable[[], str],
    require_same_place: Callable[[dict[str, Any]], None],
    say: Say,
    *,
    dev: bool,
    make: bool,
) -> None:
    """Checks the plugin and the state of a stack on a cloud; creates the stack if it is new.

    Args:
        stack: the stack.
        plugin: of its cloud.
        twin: address of the twin that this shell talks to; empty: it talks to the cloud.
        secrets_provider: called for a new stack; returns its secrets provider.
        require_same_place: called with the state; raises if it is of another account.
        say: called with the plugin that is used.
        dev: whether a state that only this machine reaches is accepted.
        make: whether a new stack is created.

    Raises:
        KitError: no plugin; a state that only this machine would have, or that is of another account.
    """
    shared = not twin and not dev
    if shared:
        require_shared_state(stack, {}, plugin.target, plugin.cloud)
    require_plugin(stack, plugin, twin, say)
    state = stack.find_state()
    if state is None:
        if not make:
            return
        stack.create(secrets_provider())
        state = stack.export()
    require_same_place(state)
    if shared:
        require_shared_state(stack, state, plugin.target, plugin.cloud)


def require_shared_state(stack: PulumiStack, state: dict[str, Any], target: str, cloud: str) -> None:
    """Checks that others can reach the state, and that a key of the account protects its secrets.

    Args:
        stack: the stack.
        state: from the backend; empty: not known yet.
        target: such as aws.
        cloud: such as AWS.

    Raises:
        KitError: it is on this machine, or a passphrase protects it.
    """
    bootstrap = f"`llmops bootstrap {target}` creates storage for states and a key, and prints the lines that use them"
    if stack.backend.startswith("file://"):
        raise KitError(
            f"the state of a stack on {cloud} would be on this machine only",
            where=stack.backend,
            fix=f"{bootstrap}; {_DEV}",
        )
    if (state.get("secrets_providers") or {}).get("type") == "passphrase":
        raise KitError(
            f"a passphrase protects the secrets of a stack on {cloud}",
            where=str(stack.file.path),
            fix=f"{bootstrap}: `pulumi stack change-secrets-provider` takes the key; {_DEV}",
        )
