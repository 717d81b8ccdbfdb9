"""Run a command in a network namespace that has loopback and nothing else: `python -m tests.support.no_network WORD…`.

`unshare` makes the namespace, whose loopback is down at first; it is brought up by the call that `ip link` makes.
https://man7.org/linux/man-pages/man7/netdevice.7.html
"""

import errno
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys

import pytest

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_ELSEWHERE = ("192.0.2.1", 80)  # of no host: https://www.rfc-editor.org/rfc/rfc5737
_UNSHARE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]


def command(*words: str) -> list[str]:
    """The words with which a command runs there. Skips the test where the kernel or its rights have no namespaces."""
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare here (util-linux)")
    tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no network namespace can be made here: {tried.stderr.strip()}")
    return [*_UNSHARE, sys.executable, "-m", "tests.support.no_network", *words]


def _bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _require_no_network() -> None:
    try:
        socket.create_connection(_ELSEWHERE, 5).close()
    except OSError as e:
        if e.errno == errno.ENETUNREACH:
            return
        raise
    raise SystemExit("this namespace has a network")


if __name__ == "__main__":
    _bring_loopback_up()
    _require_no_network()
    os.execvp(sys.argv[1], sys.argv[1:])
