"""Which plugin the engine will use for AWS: the real one, or on a twin the stand-in where that is not installed."""

import os
import socket
from importlib.metadata import version

from contract.errors import KitError
from llmops.platforms.aws.clients import USE_TWIN, Caller
from llmops.platforms.base import Say
from llmops.plugins import installed_plugin
from llmops.stacks import PulumiStack

ATTACHED = "PULUMI_DEBUG_PROVIDERS"


def require_plugin(stack: PulumiStack, caller: Caller, say: Say) -> None:
    """See that the engine will find the plugin; install the real one where it is missing and may be fetched.

    Raises:
        KitError: there is none, or a stand-in would be used for AWS.
    """
    port = attached_port(os.environ.get(ATTACHED, ""))
    if port and not caller.twin:
        raise KitError(
            "the engine would use a twin's stand-in for the aws plugin, and this shell talks to AWS",
            where=f"${ATTACHED}",
            fix=f"unset {ATTACHED}",
        )
    if port:
        _require_answer(port)
        say(f"aws plugin: the twin's stand-in, at port {port}")
        return
    if found := installed_plugin("aws"):
        if caller.twin:
            say(f"aws plugin: the real one, {found}")
        return
    if caller.twin:
        raise KitError(
            "neither the aws plugin nor the twin's stand-in for it is there",
            where=f"${ATTACHED}",
            fix=f"{USE_TWIN}, the engine's plugins too",
        )
    wanted = version("pulumi-aws")
    say(f"installing the aws plugin {wanted} for the engine")
    try:
        stack.run("plugin", "install", "resource", "aws", wanted, stack=False)
    except KitError as e:
        raise KitError(
            f"the aws plugin {wanted} is not installed and can't be fetched",
            where="pulumi plugin install",
            fix=f"`pulumi plugin install resource aws {wanted}` where the network allows it",
        ) from e


def attached_port(text: str) -> int:
    """The port of `aws` in `aws:1234,other:5678`; 0 without one."""
    for item in text.split(","):
        name, _, port = item.partition(":")
        if name.strip() == "aws" and port.strip().isdigit():
            return int(port)
    return 0


def _require_answer(port: int) -> None:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError as e:
        raise KitError(
            f"the twin's stand-in for the aws plugin does not answer at port {port}",
            where=f"${ATTACHED}",
            fix=f"`llmops twin aws up`; then {USE_TWIN}, with its new ports",
        ) from e
