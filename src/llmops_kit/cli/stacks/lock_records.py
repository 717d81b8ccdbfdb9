"""Records of the locks that the kit's own engine processes took: the proof that a lock may be taken over.

Pulumi's lock says a host name and a process number (`backend/diy/lock.go` of pulumi/pkg v3). Two machines or containers
may share both, so they prove nothing. Only the lock's random id is secret. `llmops up` learns it from the
backend once its engine holds the lock, and keeps it in a private file of this machine, beside what tells the engine's
process from every other one: number and start time, the kernel's boot, the namespace of process numbers.
"""

import contextlib
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from llmops_kit.hosting.processes import is_running, started_at

_SHARED_FILE_SYSTEMS = {"afs", "beegfs", "ceph", "cifs", "fuse.sshfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
_FIRST_NAMESPACE = 0xEFFFFFFC
"""PROC_PID_INIT_INO: from the first namespace all processes are seen (include/linux/proc_ns.h of Linux)."""


@dataclass(frozen=True)
class Record:
    """The process that took a lock."""

    pid: int
    started: float
    """As `started_at` gives it."""
    boot: str
    """The kernel's boot id; empty where the system has none."""
    namespace: int
    """Of process numbers; 0 where the system has none."""

    @classmethod
    def of(cls, process: psutil.Process) -> "Record":
        """A process of this machine and namespace."""
        return cls(process.pid, started_at(process.pid), boot_id(), pid_namespace())

    def ended(self, folder: Path) -> bool | None:
        """Returns whether the process is gone; None: it can't be seen from here.

        Args:
            folder: where the record is kept.
        """
        if self.boot != boot_id():  # a restart of this machine, or another machine where the folder is shared
            return None if is_shared(folder) else True
        if self.namespace != pid_namespace():
            return None
        return not is_running(self.pid, self.started)


class LockRecords:
    """The records of one stack, `<lock id>.json` in a folder that is its owner's alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, project: Path, stack: str) -> "LockRecords":
        """Those of a stack in a project's folder."""
        return cls(project / ".llmops/locks" / stack.rpartition("/")[2])

    def find(self, lock: str) -> Record | None:
        """Returns what this machine recorded of a lock; None if it holds no readable record."""
        try:
            return Record(**json.loads((self.folder / f"{lock}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, lock: str, record: Record) -> None:
        """Store a record atomically."""
        new = self.temporary()
        new.touch(mode=0o600, exist_ok=False)
        new.write_text(json.dumps(asdict(record)))
        new.replace(self.folder / f"{lock}.json")

    def remove(self, lock: str) -> None:
        """Forget a lock that is given back."""
        (self.folder / f"{lock}.json").unlink(missing_ok=True)

    def prune(self) -> None:
        """On a stack without locks: forget processes that ended, and temporary files of commands that were killed."""
        for path in self.folder.glob("*.json"):
            record = self.find(path.stem)
            if record is None or record.ended(self.folder):
                path.unlink(missing_ok=True)
        for path in self.folder.glob("temporary-*"):
            if not psutil.pid_exists(int(path.name.split("-")[1])):
                path.unlink(missing_ok=True)

    def temporary(self) -> Path:
        """A file of this process."""
        return self.folder / f"temporary-{os.getpid()}-{secrets.token_hex(8)}"

    def make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)


def boot_id() -> str:
    """Returns the id of this start of the kernel; empty where the system doesn't say (it is Linux's)."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def pid_namespace() -> int:
    """Returns the namespace of this process' number; 0 where the system has none."""
    with contextlib.suppress(OSError):
        return Path("/proc/self/ns/pid").stat().st_ino
    return 0


def sees_all_processes() -> bool:
    """Returns whether no process of this machine is hidden from here, as others are from a container."""
    return pid_namespace() in (0, _FIRST_NAMESPACE)


def is_shared(folder: Path) -> bool:
    """Returns whether a folder is on a file system that other machines mount too."""
    resolved = folder.resolve()
    mounts = [p for p in psutil.disk_partitions(all=True) if resolved.is_relative_to(p.mountpoint)]
    return bool(mounts) and max(mounts, key=lambda p: len(p.mountpoint)).fstype in _SHARED_FILE_SYSTEMS


def may_run(pid: int, before: float) -> bool:
    """Returns whether a process that was started before then has this number, in any namespace that is seen from here.

    Linux lists a process' number in each namespace below (proc_pid_status(5), NSpid).
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if pid in _numbers(process.pid) and process.create_time() <= before:
                return process.status() != psutil.STATUS_ZOMBIE
    return False


def _numbers(pid: int) -> list[int]:
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return [int(number) for number in line.split()[1:]]
    return [pid]
