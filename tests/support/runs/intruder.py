"""A planted program: tries to get at what its starter has, and prints, as JSON, what it managed.

TARGETS in its environment, or `--targets JSON`, says where things are: key, write (files), remove (folders), list
(folders), pid (of its starter), socket (a unix socket's path), port (of 127.0.0.1), own (a folder that it may write).
"""

import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

NEWNS, NEWUSER, DETACH, SEIZE = 0x20000, 0x10000000, 2, 0x4206
libc = ctypes.CDLL(None, use_errno=True)
managed: list[str] = []


def attempt(name: str, work: Callable[[], object]) -> None:
    """Note what works."""
    try:
        work()
    except OSError:
        return
    managed.append(name)


def require(result: int) -> None:
    """The kernel's refusal as an OSError."""
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def opened(path: str, mode: str) -> None:
    """Open a file, and leave it as it is."""
    with Path(path).open(mode):
        pass


def unmount(path: str) -> None:
    """As root of a user namespace of its own, take away what lies above."""
    require(libc.umount2(path.encode(), DETACH))


def intrude(targets: dict) -> list[str]:
    """Everything, the harmless first."""
    pid, key = targets["pid"], targets["key"]
    attempt("own", lambda: Path(targets["own"], "mine").write_text("mine"))
    attempt("key", lambda: Path(key).read_text())
    attempt("key by /proc", lambda: Path(f"/proc/{pid}/root{key}").read_text())
    attempt("key by working folder", lambda: Path(f"/proc/{pid}/cwd").resolve(strict=True).joinpath(key).read_text())
    attempt("memory", lambda: opened(f"/proc/{pid}/mem", "rb"))
    attempt("environment", lambda: Path(f"/proc/{pid}/environ").read_text())
    attempt("signal", lambda: os.kill(pid, signal.SIGCONT))
    attempt("ptrace", lambda: require(libc.ptrace(SEIZE, pid, None, None)))
    for path in targets["write"]:
        attempt(f"write {path}", lambda path=path: opened(path, "a"))
    for path in targets["remove"]:
        attempt(f"remove {path}", lambda path=path: Path(path).rename(f"{path}.away"))
    for path in targets["list"]:
        attempt(f"list {path}", lambda path=path: list(Path(path).iterdir()))
    attempt("socket", lambda: socket.socket(socket.AF_UNIX).connect(targets["socket"]))
    attempt("network", lambda: socket.create_connection(("127.0.0.1", targets["port"]), 5))
    attempt("become root", lambda: os.setuid(0))
    if libc.unshare(NEWUSER | NEWNS) == 0:
        for path in targets["write"]:
            parent = str(Path(path).parent)
            attempt(f"unmount {parent}", lambda parent=parent: unmount(parent))
        attempt("key after unmounting", lambda: Path(key).read_text())
        for path in targets["write"]:
            attempt(f"write {path} after unmounting", lambda path=path: opened(path, "a"))
    return managed


if __name__ == "__main__":
    print(json.dumps(intrude(json.loads(os.environ.get("TARGETS") or sys.argv[sys.argv.index("--targets") + 1]))))
