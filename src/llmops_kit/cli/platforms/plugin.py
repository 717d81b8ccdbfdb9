"""Checks which plugin the engine uses for a cloud: the real one, or on a twin its stand-in if that is not installed."""

import os
import socket
from dataclasses import dataclass
from importlib.metadata import version

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.pulumi_engine.plugins import installed_plugin
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.core.errors import KitError

ATTACHED = "PULUMI_DEBUG_PROVIDERS"


@dataclass(frozen=True)
class Plugin:
    """A cloud's plugin. `name`: in the engine; `package`: the SDK whose version it has."""

    name: str
    package: str
    target: str
    cloud: str
    use_twin: str
    """How to point a shell at the twin."""


def require_plugin(stack: PulumiStack, plugin: Plugin, twin: str, say: Say) -> None:
    """Checks that the engine will find the plugin; on the cloud itself, installs a missing one.

    Args:
        stack: any stack of the cloud.
        plugin: the plugin to look for.
        twin: address of the twin that this shell talks to; empty: it talks to the cloud.
        say: called with the plugin that is used.

    Raises:
        KitError: there is none, or a stand-in would be used for the cloud itself.
    """
    name = plugin.name
    port = attached_port(os.environ.get(ATTACHED, ""), name)
    if port and not twin:
        raise KitError(
            f"the engine would use a twin's stand-in for the {name} plugin, and this shell talks to {plugin.cloud}",
            where=f"${ATTACHED}",
            fix=f"unset {ATTACHED}",
        )
    if port:
        _require_answer(port, plugin)
        say(f"{name} plugin: the twin's stand-in, at port {port}")
        return
    if found := installed_plugin(name):
        if twin:
            say(f"{name} plugin: the real one, {found}")
        return
    if twin:
        raise KitError(
            f"neither the {name} plugin nor the twin's stand-in for it is available",
            where=f"${ATTACHED}",
            fix=f"{plugin.use_twin}, the engine's plugins too",
        )
    wanted = version(plugin.package)
    say(f"installing the {name} plugin {wanted} for the engine")
    try:
        stack.run("plugin", "install", "resource", name, wanted, stack=False)
    except KitError as e:
        raise KitError(
            f"the {name} plugin {wanted} is not installed and can't be fetched",
            where="pulumi plugin install",
            fix=f"`pulumi plugin install resource {name} {wanted}` where the network allows it",
        ) from e


def attached_port(text: str, plugin: str) -> int:
    """Returns the port of a plugin in a list such as `aws:1234,other:5678`; 0 if it is not in it."""
    for item in text.split(","):
        name, _, port = item.partition(":")
        if name.strip() == plugin and port.strip().isdigit():
            return int(port)
    return 0


def _require_answer(port: int, plugin: Plugin) -> None:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError as e:
        raise KitError(
            f"the twin's stand-in for the {plugin.name} plugin does not answer at port {port}",
            where=f"${ATTACHED}",
            fix=f"`llmops twin {plugin.target} up`; then {plugin.use_twin}, with its new ports",
        ) from e
