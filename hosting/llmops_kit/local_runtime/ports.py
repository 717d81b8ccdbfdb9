"""Ports on this machine."""

import random
import socket
from collections.abc import Collection
from pathlib import Path

import psutil

from llmops_kit.core.errors import HostingError


def choose_port(bind: str, avoid: Collection[int] = ()) -> int:
    """Returns a free port below those that the kernel gives to outgoing connections, so that it stays free.

    Raises:
        HostingError: 200 random ports were taken.
    """
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = range(min(20_000, first_ephemeral - 1000), first_ephemeral)
    for _ in range(200):
        port = random.choice(candidates)
        if port not in avoid and is_free(bind, port):
            return port
    raise HostingError(f"no free port on {bind}", fix="set the endpoint's `port`")


def is_free(bind: str, port: int) -> bool:
    """Returns whether a server can listen on a port now."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Returns the program that listens on a port, such as `nginx (pid 123)`; empty if this user can't see it."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr[1] == port:
                pid = connection.pid
                return f"{psutil.Process(pid).name()} (pid {pid})" if pid else ""
    except psutil.Error:
        pass
    return ""


def require_free(bind: str, port: int, endpoint: str) -> None:
    """Checks that a server can listen on a port.

    Raises:
        HostingError: it is taken, or not allowed.
    """
    if is_free(bind, port):
        return
    who = holder(port)
    raise HostingError(
        f"port {port} on {bind} is taken" + (f" by {who}" if who else "") + " or not allowed to this user",
        where=f"endpoint {endpoint}: port",
        fix="end that program, or give the endpoint another `port` (0: chosen once and kept)",
    )
