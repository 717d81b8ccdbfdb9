"""Checks before a stack on Azure is changed: credentials, subscription, state, the engine's plugin."""

import re
from typing import Any

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.platforms.azure.bootstrap.bootstrap import key_url
from llmops_kit.cli.platforms.azure.exchanges import recorded_session
from llmops_kit.cli.platforms.plugin import Plugin
from llmops_kit.cli.platforms.shared_state import prepare_state
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.azure.errors import USE_TWIN
from llmops_kit.clouds.azure.session import AzureSession, location_of
from llmops_kit.clouds.azure.settings import AzureSettings
from llmops_kit.core.errors import KitError, require_packages
from llmops_kit.core.twins import TWIN_SUBSCRIPTION

PLUGIN = Plugin("azure-native", "pulumi-azure-native", "azure", "Azure", USE_TWIN)
_ID = re.compile(r"^/subscriptions/([0-9a-f-]{36})(/|$)")


def preflight(stack: PulumiStack, say: Say, *, dev: bool, make: bool) -> None:
    """Detects problems that would fail late or change the wrong subscription; creates the stack if it is new.

    Raises:
        KitError: no credentials or subscription; state of a twin for Azure or the reverse; a state that only this
            machine would have; no plugin.
    """
    require_packages("azure", "azure.identity", "azure.mgmt.core", "pulumi_azure_native")
    session = clients_of(stack)
    subscription = session.subscription
    place = f"the twin at {session.twin}" if session.twin else f"Azure subscription {subscription}"
    say(f"{place}, as {session.caller.object_id}")
    prepare_state(
        stack,
        PLUGIN,
        session.twin,
        lambda: _secrets_provider(stack, session, dev),
        lambda state: require_same_place(stack.name, state, subscription),
        say,
        dev=dev,
        make=make,
    )


def settings_of(stack: PulumiStack) -> AzureSettings:
    """Returns the key `azure` of the stack file.

    Raises:
        SettingError: names the first wrong key.
    """
    return stack.file.settings("azure").azure


def clients_of(stack: PulumiStack) -> AzureSession:
    """Opens the session of a stack that may not be deployed yet: subscription from its file, else from this shell."""
    return recorded_session(settings_of(stack).subscription)


def region_of(stack: PulumiStack) -> str:
    """Returns the location of a stack that may not be deployed yet: that of its file, or of the group that it names."""
    return location_of(clients_of(stack), settings_of(stack))


def require_same_place(name: str, state: dict[str, Any], subscription: str) -> None:
    """Checks that a state has no resources of another subscription, of a twin on Azure, or of Azure on a twin.

    Raises:
        KitError: it has; names the first such resource.
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
        else "use that subscription's credentials and backend; a stack of the same name on a twin has a separate state",
    )


def _secrets_provider(stack: PulumiStack, session: AzureSession, dev: bool) -> str:
    """Returns the secrets provider of a new stack: that of its file, else for blobs the key that bootstrap created.

    On a twin it is a passphrase: the engine finds vaults only by their public host names.
    """
    if stack.file.secrets_provider or not stack.backend.startswith("azblob://") or session.twin:
        return stack.file.secrets_provider
    try:
        return key_url(session, stack.project.name)
    except KitError:
        if dev:
            return ""  # a passphrase
        raise
