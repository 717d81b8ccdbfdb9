"""The state of a stack on a cloud: where others reach it too, its secrets under a key of the account."""

from typing import Any

from contract.errors import KitError
from llmops.stacks.stack import PulumiStack

_DEV = "`--dev` takes it all the same, for a stack that is yours alone"


def require_shared_state(stack: PulumiStack, state: dict[str, Any], target: str, cloud: str) -> None:
    """Check that others reach the state, and that a key of the account protects its secrets.

    Args:
        stack: the stack.
        state: as the backend has it; empty: not known yet.
        target: such as aws.
        cloud: such as AWS.

    Raises:
        KitError: it is on this machine, or a passphrase protects it.
    """
    bootstrap = f"`llmops bootstrap {target}` makes a place for states and a key, and prints the lines that use them"
    if stack.backend.startswith("file://"):
        raise KitError(
            f"the state of a stack on {cloud} would be on this machine alone",
            where=stack.backend,
            fix=f"{bootstrap}; {_DEV}",
        )
    if (state.get("secrets_providers") or {}).get("type") == "passphrase":
        raise KitError(
            f"a passphrase protects the secrets of a stack on {cloud}",
            where=str(stack.file.path),
            fix=f"{bootstrap}: `pulumi stack change-secrets-provider` takes the key; {_DEV}",
        )
