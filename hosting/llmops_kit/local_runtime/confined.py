"""Started in place of a program that must not reach what its starter can: `python -I -S confined.py DOCUMENT`.

The document is JSON: argv, environ (complete), cwd; `user`, the id that the program changes to (0: it keeps this
one's); `namespaces`, whether it gets its own; the folders that it may `read`, and those that it may `write`.

In namespaces the program sees only the system's folders and its own, no other process and no network, and dies with
this one. Other users than root create a user namespace first, in which their id stays the same.
https://man7.org/linux/man-pages/man7/namespaces.7.html; the order is bubblewrap's:
https://github.com/containers/bubblewrap
"""

import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

REFUSED = 125
"""Exit code if the confinement fails; nothing of the program ran."""
_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000  # from sched.h
_NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE, _REMOUNT, _RDONLY = 2, 4, 8, 4096, 16384, 1 << 18, 32, 1  # sys/mount.h
_DETACH = 2
_ATTR_RDONLY, _ATTR_NOSUID, _AT_RECURSIVE = 1, 2, 0x8000  # linux/mount.h, fcntl.h
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SYS_MOUNT_SETATTR = 442  # since Linux 5.12, the same number everywhere
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/sys", "/nix/store")
_DEVICES = ("null", "zero", "full", "random", "urandom", "nvidia*", "kfd", "dri")
_OLD = "/.old"
_ALL_BITS = (1 << 64) - 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class ConfinedRun(TypedDict):
    """A program to start and how to confine it."""

    argv: list[str]
    environ: dict[str, str]
    cwd: str
    user: int
    namespaces: bool
    read: list[str]
    write: list[str]


def main(path: str) -> int:
    """Runs the program to its end; returns its exit code, or 128 plus the number of the signal that ended it."""
    document: ConfinedRun = json.loads(Path(path).read_text())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o022)
    try:
        if not document["namespaces"]:
            _become(document["user"])
            _execute(document)
        uid, gid = os.getuid(), os.getgid()
        _call("unshare", _NEWNS | _NEWIPC | _NEWPID | _NEWNET | (0 if document["user"] else _NEWUSER))
        if not document["user"]:
            _stay(uid, gid)
    except OSError as e:
        return _refused(e)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the program, in the same process group, gets it too
    return _code(_forked(lambda: _first(document)))


def _first(document: ConfinedRun) -> int:
    """Runs as the first process of the namespaces: when it ends, all of their processes end."""
    try:
        _build_root(document)
        _raise_loopback()
        _become(document["user"])
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)  # after the last change of users, which resets it
    except OSError as e:
        return _refused(e)
    program = _forked(lambda: _execute(document), wait=False)
    while True:
        ended, status = os.wait()  # of orphans too
        if ended == program:
            return _code(status)


def _build_root(document: ConfinedRun) -> None:
    """Mounts a root with the system's folders, a few devices, and the program's folders, at their own paths."""
    shown = {name: os.path.realpath(name) for name in [*document["read"], *document["write"]]}
    system = [Path(name) for name in _SYSTEM if Path(name).is_dir()]
    links = {place: place.readlink() for place in system if place.is_symlink()}
    shown |= {str(place): str(place) for place in system if place not in links}
    _mount("", "/", flags=_REC | _PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, "mode=755")  # hides nothing: it becomes the root, and moves away
    Path(f"/tmp{_OLD}").mkdir()
    _call("syscall", _SYS_PIVOT_ROOT[os.uname().machine], b"/tmp", f"/tmp{_OLD}".encode())
    os.chdir("/")
    for place, target in links.items():
        place.symlink_to(target)
    for name in ("/proc", "/dev", "/tmp"):
        Path(name).mkdir()
    _mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    _mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, "mode=1777")
    _make_devices()
    for name, source in sorted(shown.items(), key=lambda item: item[0].count("/")):
        _show(source, name, writable=name in document["write"])
    _call("umount2", _OLD.encode(), _DETACH)
    Path(_OLD).rmdir()
    _mount("", "/", flags=_REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)


def _make_devices() -> None:
    _mount("tmpfs", "/dev", "tmpfs", _NOSUID, "mode=755")
    for pattern in _DEVICES:
        for device in Path(f"{_OLD}/dev").glob(pattern):
            place = Path("/dev", device.name)
            place.mkdir() if device.is_dir() else place.touch()
            _mount(str(device), str(place), flags=_BIND | _REC)
    Path("/dev/shm").mkdir()
    _mount("tmpfs", "/dev/shm", "tmpfs", _NOSUID | _NODEV, "mode=1777")
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        Path("/dev", name).symlink_to(target)


def _show(source: str, name: str, *, writable: bool) -> None:
    Path(name).mkdir(parents=True, exist_ok=True)
    _mount(_OLD + source, name, flags=_BIND | _REC)
    attributes = _ATTR_NOSUID | (0 if writable else _ATTR_RDONLY)
    structure = struct.pack("QQQQ", attributes, 0, 0, 0)
    _call("syscall", _SYS_MOUNT_SETATTR, -1, name.encode(), _AT_RECURSIVE, structure, len(structure))


def _raise_loopback() -> None:
    """Brings up the loopback interface, over which processes of one job talk to each other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = struct.unpack("16sh22x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0)))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


def _stay(uid: int, gid: int) -> None:
    """Maps the user to itself in the new user namespace, so that programs started there have no rights in it."""
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _become(user: int) -> None:
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _execute(document: ConfinedRun) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and so would the program
    os.chdir(document["cwd"])
    os.execve(document["argv"][0], document["argv"], document["environ"])


def _forked(work: Callable[[], int], wait: bool = True) -> int:
    """Runs work in a forked process; returns its wait status, or with `wait=False` its pid."""
    if pid := os.fork():
        return os.waitpid(pid, 0)[1] if wait else pid
    code = REFUSED
    try:
        code = work()
    except BaseException as e:  # the fork must not return into its parent's code
        _refused(e)
    finally:
        os._exit(code)


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _refused(error: BaseException) -> int:
    print(f"can't be confined: {error}", file=sys.stderr, flush=True)
    return REFUSED


def _mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    _call("mount", *(text.encode() or None for text in (source, target, kind)), flags, options.encode() or None)


def _call(function: str, *arguments: int | bytes | None) -> None:
    words = [ctypes.c_ulong(a & _ALL_BITS) if isinstance(a, int) else a for a in arguments]
    if _LIBC[function](*words) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
