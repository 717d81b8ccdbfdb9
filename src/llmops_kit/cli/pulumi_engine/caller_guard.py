"""Refuses calls of other users to the gRPC ports of the language host and of the dynamic provider.

Pulumi's plugins listen on loopback without any authentication, and every user of the machine reaches loopback. Whoever
calls the dynamic provider creates and deletes files as its user, and whoever calls the language host runs programs. So
each call's connection is looked up: its other end must be an open socket of this process's own user. Its address alone
doesn't show that: sockets of several users can have the same local address if they are connected to different ones.

Linux lists sockets and their owners in /proc/net/tcp and tcp6 (proc_pid_net(5)); elsewhere `lsof` does, which shows the
sockets of one's own processes without root.

Standard library only: a copy lies beside the engine.
"""

import contextlib
import ipaddress
import os
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PROC = Path("/proc/net")
_FILES = Path("/proc/self/fd")
_ESTABLISHED = "01"
_LSOF_SECONDS = 10
_LOOKS, _LOOK_SECONDS = 5, 0.1  # a read of the system's table while it changes may miss the connection


def guard(servicer: Any, base: type) -> None:
    """Makes a gRPC service answer PERMISSION_DENIED to other users, and name them on stderr.

    Args:
        servicer: the service; its methods are replaced, so this comes before a server takes it.
        base: the generated class that lists the methods of the protocol.
    """
    for name in vars(base):
        if not name.startswith("_"):
            setattr(servicer, name, _guarded(getattr(servicer, name), name))


def is_own(peer: str) -> bool:
    """Returns whether the other end of a connection is an open socket of this process's user.

    Args:
        peer: as gRPC names it, such as `ipv4:127.0.0.1:40000`.
    """
    address, port = _address_of(peer)
    if address is None:
        return False
    owners = _from_proc(address, port) if (_PROC / "tcp").exists() else _from_lsof(address, port)
    return bool(owners) and owners == {os.geteuid()}


def _guarded(method: Callable[[Any, Any], Any], name: str) -> Callable[[Any, Any], Any]:
    def call(request: Any, context: Any) -> Any:
        import grpc

        if not is_own(context.peer()):
            print(
                f"refused {name} of {context.peer()}: it is not a connection of user {os.geteuid()}, who runs this "
                "update; another user of this machine may have tried to use it",
                file=sys.stderr,
                flush=True,
            )
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "only the user who runs the update may call its plugins")
        return method(request, context)

    return call


def _address_of(peer: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address | None, int]:
    kind, _, rest = urllib.parse.unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdigit():
        return None, 0
    try:
        return ipaddress.ip_address(host.strip("[]")), int(port)
    except ValueError:
        return None, 0


def _from_proc(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> set[int]:
    """Returns the owners of the open sockets at an address that are connected to this process."""
    peers = {_in_proc(address, port)}
    if isinstance(address, ipaddress.IPv4Address):  # a socket of IPv6 may have made the connection
        peers.add(_in_proc(ipaddress.IPv6Address(f"::ffff:{address}"), port))
    for look in range(_LOOKS):
        time.sleep(_LOOK_SECONDS if look else 0)
        if owners := _owners(peers):
            return owners
    return set()


def _owners(peers: set[str]) -> set[int]:
    """Returns the owners that the kernel lists now.

    The kernel gives a socket that was closed the user 0 and the inode 0, and it stays listed for a while: only an
    established one that a process holds counts.
    """
    sockets, held = _sockets(), _held()
    ports = {_port(fields[1]) for fields in sockets if fields[2] in peers and fields[9] in held}
    return {
        int(fields[7])
        for fields in sockets
        if fields[1] in peers and _port(fields[2]) in ports and fields[3] == _ESTABLISHED and fields[9] != "0"
    }


def _sockets() -> list[list[str]]:
    """Returns the fields of each socket: 1 local and 2 remote address, 3 state, 7 user, 9 inode."""
    found: list[list[str]] = []
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):  # a kernel without IPv6
            found += map(str.split, (_PROC / name).read_text().splitlines()[1:])
    return found


def _held() -> set[str]:
    """Returns the inodes of this process's sockets."""
    found: set[str] = set()
    for each in _FILES.iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.add(str(each.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def _in_proc(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> str:
    """Returns an address as /proc/net has it: words of 32 bits in the machine's byte order, in hexadecimal."""
    packed = address.packed
    words = [packed[i : i + 4] for i in range(0, len(packed), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{port:04X}"


def _from_lsof(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> set[int]:
    host = f"[{address}]" if address.version == 6 else str(address)
    command = ["lsof", "-nP", f"-iTCP@{host}:{port}", "-sTCP:ESTABLISHED", "-Fun"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_LSOF_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return set()
    peer, own = f"{host}:{port}", str(os.getpid())
    ends: list[tuple[str, int, str]] = []
    process, user = "", -1
    for line in done.stdout.decode(errors="replace").splitlines():  # a field a line, after its letter
        if line.startswith("p"):
            process = line[1:]
        elif line.startswith("u"):
            user = int(line[1:])
        elif line.startswith("n"):
            ends.append((process, user, line[1:]))
    servers = {name.partition("->")[0] for process, _, name in ends if process == own and name.endswith(f"->{peer}")}
    return {user for _, user, name in ends if name in {f"{peer}->{server}" for server in servers}}
