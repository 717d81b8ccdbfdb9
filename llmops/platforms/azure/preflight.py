"""What must be right before a stack on Azure is touched: credentials, subscription, state, the engine's plugin."""

import re
from typing import Any

from contract.errors import KitError, require_packages
from contract.twins import TWIN_SUBSCRIPTION
from llmops.platforms.azure.clients import USE_TWIN, Clients
from llmops.platforms.platform import Say
from llmops.platforms.plugin import Plugin, require_plugin
from llmops.platforms.shared_state import require_shared_state
from llmops.stacks.stack import PulumiStack

PLUGIN = Plugin("azure-native", "pulumi-azure-native", "azure", "Azure", USE_TWIN)
_GROUP_API = "2024-03-01"
_ID = re.compile(r"^/subscriptions/([0-9a-f-]{36})(/|$)")


def preflight(stack: PulumiStack, say: Say, *, dev: bool, make: bool) -> None:
    """Find out early what would fail late, or go to the wrong place; make the stack where it is new.

    Raises:
        KitError: no credentials or subscription; state of a twin for Azure or the reverse; a state that one machine
            alone would have; no plugin.
    """
    require_packages("azure", "azure.identity", "azure.mgmt.core", "pulumi_azure_native")
    clients = clients_of(stack)
    subscription = clients.subscription
    place = f"the twin at {clients.twin}" if clients.twin else f"Azure subscription {subscription}"
    say(f"{place}, as {clients.caller.object_id}")
    if not clients.twin and not dev:
        require_shared_state(stack, {}, "azure", "Azure")
    require_plugin(stack, PLUGIN, clients.twin, say)
    if not stack.exists():
        if not make:
            return
        stack.create(_secrets_provider(stack, clients, dev))
    state = stack.export()
    require_same_place(stack.name, state, subscription)
    if not clients.twin and not dev:
        require_shared_state(stack, state, "azure", "Azure")


def clients_of(stack: PulumiStack) -> Clients:
    """Clients for a stack that may not be deployed yet: subscription from its file, else from this shell."""
    azure = stack.file.config().get("azure") or {}
    return Clients(str(azure.get("subscription") or ""))


def region_of(stack: PulumiStack) -> str:
    """The location of a stack that may not be deployed yet: as its file says, or that of the group that it names."""
    azure = stack.file.config().get("azure") or {}
    if azure.get("location"):
        return str(azure["location"])
    return str(clients_of(stack).arm.get(str(azure["resource_group"]), _GROUP_API)["location"])


def require_same_place(name: str, state: dict[str, Any], subscription: str) -> None:
    """See that a state holds nothing of another subscription, of a twin for Azure, or of Azure for a twin.

    Raises:
        KitError: naming the first such resource.
    """
    for resource in state.get("resources") or []:
        match = _ID.match(str(resource.get("id") or "").lower())
        if match and match[1] != subscription.lower():
            raise _other_place(name, str(resource["urn"]), match[1], subscription)


def _other_place(name: str, urn: str, theirs: str, ours: str) -> KitError:
    there, here = ("a twin" if s == TWIN_SUBSCRIPTION else f"subscription {s}" for s in (theirs, ours))
    return KitError(
        f"the state of stack {name} is of {there}, but this shell talks to {here}; nothing was touched",
        where=urn.rpartition("::")[2],
        fix=USE_TWIN
        if theirs == TWIN_SUBSCRIPTION
        else "take that subscription's credentials and backend; a stack of the same name on a twin has its own state",
    )


def _secrets_provider(stack: PulumiStack, clients: Clients, dev: bool) -> str:
    """What protects the secrets of a new stack: what its file says, else for blobs the key that bootstrap made.

    On a twin a passphrase does: the engine looks for vaults at their names alone.
    """
    if stack.file.secrets_provider or not stack.backend.startswith("azblob://") or clients.twin:
        return stack.file.secrets_provider
    from llmops.platforms.azure.bootstrap.bootstrap import key_url

    try:
        return key_url(clients, stack.project.name)
    except KitError:
        if dev:
            return ""  # a passphrase will do
        raise
