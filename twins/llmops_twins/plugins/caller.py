"""The environment of the engine that uses an attached plugin."""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmops_twins.plugins.plugin import ProviderError

if TYPE_CHECKING:
    import psutil

_LOOKS, _LOOK_SECONDS = 5, 0.1  # a read of the system's table while it changes may miss the connection


def environment_of(peer: str) -> Mapping[str, str]:
    """Returns the environment of the engine at the other end of a connection.

    The real plugin is the engine's child and inherits its credentials and region; an attached one does not. If they
    can't be determined, the call fails rather than run with other credentials.

    Args:
        peer: gRPC's name of the connection, `ipv4:127.0.0.1:PORT`.

    A twin's plugin serves only its owner, though every user of the machine can connect to its port.

    Raises:
        ProviderError: the engine can't be found, or belongs to another user.
    """
    import psutil

    port = int(peer.rpartition(":")[2])
    why: object = "no process has this connection"
    for _ in range(_LOOKS):
        try:
            # Several connections may share their local port, each to another server.
            servers = {
                c.laddr.port for c in psutil.Process().net_connections("tcp") if c.raddr and c.raddr.port == port
            }
            for each in psutil.net_connections("tcp"):
                if each.pid and each.laddr and each.laddr.port == port and each.raddr and each.raddr.port in servers:
                    return _environment(psutil.Process(each.pid))
        except (psutil.Error, OSError) as e:
            why = e
        time.sleep(_LOOK_SECONDS)
    raise ProviderError(f"can't determine the owner of the engine at {peer}: {why}")


def _environment(engine: "psutil.Process") -> Mapping[str, str]:
    uid = engine.uids().effective
    if uid != os.geteuid():
        raise ProviderError(f"the engine belongs to another user (uid {uid}): the plugin works for the twin's owner")
    return engine.environ()
