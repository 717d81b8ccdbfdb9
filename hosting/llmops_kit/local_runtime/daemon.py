"""The supervisor of a home: one supervisord, called over a unix socket, with one configuration file per program."""

import json
import os
import shutil
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from supervisor.states import ProcessStates

from llmops_kit.core.errors import HostingError
from llmops_kit.local_runtime import child
from llmops_kit.local_runtime.files import UnixConnection, locked, silent, write_atomic
from llmops_kit.local_runtime.processes import is_running

_STOPPED = (ProcessStates.STOPPED, ProcessStates.EXITED, ProcessStates.FATAL)
# Paths are relative to supervisord's working directory, the home (which it would make absolute for the socket): a unix
# socket's path has at most 107 bytes, and supervisord parses `;` and `#` in a path as comments.
_CONFIGURATION = """\
; Written by hosting: changes are lost.
[supervisord]
logfile = supervisord.log
logfile_maxbytes = 1MB
logfile_backups = 1
pidfile = supervisord.pid
nocleanup = true
umask = 077
{user}
[unix_http_server]
file = /proc/self/cwd/supervisord.sock
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = programs/*.conf
"""
# startsecs 0: a program that ends is always started again at once; child.py waits between starts.
_PROGRAM = """\
[program:{name}]
command = ./python -I -S ./child.py programs/{name}.json
autorestart = true
startsecs = 0
stopwaitsecs = {stop_seconds}
killasgroup = true
priority = {priority}
redirect_stderr = true
stdout_logfile = {log}
stdout_logfile_maxbytes = 5MB
stdout_logfile_backups = 2
"""


@dataclass(frozen=True)
class Program:
    """A program that supervisord keeps running.

    `environ` is the whole environment; `log` is relative to the home; `before` are commands run before each start;
    `death_signal` reaches the program when supervisord dies; `stop_seconds` is the time from SIGTERM to SIGKILL.
    On shutdown, programs with a higher `priority` end first.
    """

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str]
    cwd: Path
    log: str
    before: Sequence[Sequence[str]] = ()
    death_signal: int = 9
    stop_seconds: int = 35
    priority: int = 500


@dataclass(frozen=True)
class ProgramState:
    """State of a program in supervisord. `pid` is 0 while it does not run; `starts` counts its starts."""

    name: str
    pid: int = 0
    running: bool = False
    starts: int = 0


@dataclass
class Daemon:
    """Controls the supervisord of `home`; every method may be called from several processes at once."""

    home: Path
    _lock: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home = self.home.absolute()
        self._lock = self.home / ".supervisord.lock"

    def pid(self) -> int:
        """Returns the pid of supervisord, or 0 if it does not run."""
        try:
            process = psutil.Process(int((self.home / "supervisord.pid").read_text()))
            ours = process.cwd() == str(self.home.resolve()) and "supervisor.supervisord" in process.cmdline()
            return process.pid if ours and _runs(process) else 0
        except (OSError, ValueError, psutil.Error):
            return 0

    def alive(self) -> bool:
        """Returns whether supervisord runs and answers."""
        return bool(self.pid()) and self._answers()

    def ensure(self, say: Callable[[str], None] = silent) -> None:
        """Starts supervisord, with every program that was not removed, unless it runs.

        Raises:
            HostingError: it can't be started.
        """
        with locked(self._lock):
            if not self.alive():
                self._start(say)
                return
            with self._rpc() as rpc:
                loaded = {info["group"] for info in rpc.getAllProcessInfo()}
                # An `add` may have been killed after it wrote its file, before supervisord loaded it.
                for name in set(self._configured()) - loaded:
                    self._load(rpc, name)

    def programs(self) -> dict[str, ProgramState]:
        """Returns the state of each program by name, including those of a supervisord that is down."""
        found = {name: ProgramState(name, starts=self._starts(name)) for name in self._configured()}
        if self.pid():
            with suppress(OSError, xmlrpc.client.Error), self._rpc() as rpc:
                for info in rpc.getAllProcessInfo():
                    name, pid = info["name"], info["pid"]
                    found[name] = ProgramState(name, pid, bool(pid), self._starts(name))
        return found

    def started(self, name: str) -> ProgramState:
        """Returns a program's state as its start recorded it: cheap, because it doesn't call supervisord."""
        written = self._written(name)
        pid, began = int(written.get("pid", 0)), written.get("began")
        # A supervisord that an older kit started still uses that kit's child.py, which didn't record `began`.
        running = bool(pid) and (psutil.pid_exists(pid) if began is None else is_running(pid, began))
        return ProgramState(name, pid if running else 0, running, int(written.get("count", 0)))

    def add(self, program: Program) -> None:
        """Makes supervisord run a program, now and after each start of its own; does nothing if it has it already."""
        folder = self.home / "programs"
        (self.home / program.log).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / f"{program.name}.json", self._specification(program))
        values = {"stop_seconds": program.stop_seconds, "priority": program.priority, "log": program.log}
        write_atomic(folder / f"{program.name}.conf", _PROGRAM.format(name=program.name, **values))
        with locked(self._lock), self._rpc() as rpc:
            self._load(rpc, program.name)

    def has(self, program: Program) -> bool:
        """Returns whether supervisord has exactly this program in its configuration, running or not."""
        try:
            return (self.home / "programs" / f"{program.name}.json").read_text() == self._specification(program)
        except OSError:
            return False

    def remove(self, names: Iterable[str]) -> None:
        """Stops programs together (SIGTERM, after `stop_seconds` SIGKILL), waits until they ended, and forgets them."""
        gone = list(names)
        for name in gone:
            (self.home / "programs" / f"{name}.conf").unlink(missing_ok=True)
        if gone and self.pid():
            self.ensure()  # it may hang, and is then replaced
            with self._rpc() as rpc:  # without the lock: programs may end slowly, and others may be added meanwhile
                for name in gone:
                    with suppress(xmlrpc.client.Fault):  # BAD_NAME, NOT_RUNNING
                        rpc.stopProcess(name, False)
                for name in gone:
                    self._forget(rpc, name)
            self._end_strays(gone)
        for name in gone:
            for suffix in (".json", ".starts"):
                (self.home / "programs" / f"{name}{suffix}").unlink(missing_ok=True)

    def shutdown(self) -> None:
        """Ends supervisord and all programs, and waits until none of their processes is left."""
        with locked(self._lock):
            if pid := self.pid():
                with suppress(psutil.NoSuchProcess):
                    self._end(psutil.Process(pid))
            self._end_strays()
            for name in ("supervisord.sock", "supervisord.pid"):
                (self.home / name).unlink(missing_ok=True)

    def log_tail(self, log: str, lines: int = 15) -> list[str]:
        """Returns the last lines of a program's log."""
        try:
            with (self.home / log).open("rb") as f:
                f.seek(max(0, f.seek(0, os.SEEK_END) - 16_384))
                return f.read().decode(errors="replace").splitlines()[-lines:]
        except OSError:
            return []

    def _end(self, process: psutil.Process) -> None:
        """Ends supervisord, which waits for each program to end; kills it after 180 s."""
        process.terminate()
        deadline = time.monotonic() + 180
        while _runs(process):
            if time.monotonic() > deadline:
                process.kill()
            self._answers()  # wakes it: otherwise it checks once a second
            time.sleep(0.02)

    def _start(self, say: Callable[[str], None]) -> None:
        say(f"starting the supervisor of {self.home}")
        if pid := self.pid():  # it runs, but hangs or lost its socket: its programs die with it
            psutil.Process(pid).kill()
        self._end_strays()
        self._write_files()
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", "supervisord.conf"]
        keep = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONHASHSEED")
        environ = {k: os.environ[k] for k in keep if k in os.environ}
        # supervisord forks itself into its own session and the first process ends once the socket listens.
        done = subprocess.run(
            command, cwd=self.home, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        deadline = time.monotonic() + 20
        while done.returncode == 0 and time.monotonic() < deadline:
            if self.alive():
                return
            time.sleep(0.02)
        raise HostingError(
            f"supervisord did not start: {(done.stderr or done.stdout).strip()[-500:]}",
            where=str(self.home / "supervisord.log"),
            fix="see the log; the usual causes are an unwritable folder or a full disk",
        )

    def _write_files(self) -> None:
        (self.home / "programs").mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        shutil.copyfile(child.__file__, self.home / "child.py")
        python = self.home / "python"
        python.unlink(missing_ok=True)
        python.symlink_to(Path(sys.executable).resolve())  # child.py needs no packages, hence the base interpreter
        user = "user = root\n" if os.getuid() == 0 else ""
        write_atomic(self.home / "supervisord.conf", _CONFIGURATION.format(user=user))
        (self.home / "supervisord.sock").unlink(missing_ok=True)

    def _end_strays(self, programs: Collection[str] = ()) -> None:
        """Kills the child processes that ended programs of this home left behind; without names, those of all."""
        strays = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                home, _, program = process.environ().get(child.MARK, "").rpartition(":")
                if home == str(self.home) and (not programs or program in programs):
                    process.kill()
                    strays.append(process)
        psutil.wait_procs(strays, timeout=10)

    def _specification(self, program: Program) -> str:
        """Returns the specification that child.py reads, as JSON."""
        spec = {
            "argv": list(program.argv),
            "environ": dict(program.environ) | {child.MARK: f"{self.home}:{program.name}"},
            "cwd": str(program.cwd),
            "before": [list(command) for command in program.before],
            "death_signal": program.death_signal,
        }
        return json.dumps(spec, indent=2) + "\n"

    def _load(self, rpc: Any, name: str) -> None:
        rpc.reloadConfig()
        with suppress(xmlrpc.client.Fault):  # ALREADY_ADDED
            rpc.addProcessGroup(name)

    def _forget(self, rpc: Any, name: str) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if rpc.getProcessInfo(name)["state"] in _STOPPED:
                    rpc.removeProcessGroup(name)
                    return
            except xmlrpc.client.Fault as e:
                if e.faultCode == 10:  # BAD_NAME: it is gone
                    return
                with suppress(xmlrpc.client.Fault):
                    rpc.stopProcess(name, False)
            time.sleep(0.05)
        raise HostingError(f"program {name} does not end", where=str(self.home / "supervisord.log"))

    def _configured(self) -> list[str]:
        return sorted(path.stem for path in (self.home / "programs").glob("*.conf"))

    def _starts(self, name: str) -> int:
        return int(self._written(name).get("count", 0))

    def _written(self, name: str) -> dict[str, float]:
        try:
            return json.loads((self.home / "programs" / f"{name}.starts").read_text())
        except (OSError, ValueError):
            return {}

    def _answers(self) -> bool:
        try:
            with self._rpc() as rpc:
                return rpc.getState()["statecode"] == 1
        except (OSError, xmlrpc.client.Error):
            return False

    @contextmanager
    def _rpc(self) -> Iterator[Any]:
        with xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_Transport(self.home)) as server:
            yield server.supervisor


class _Transport(xmlrpc.client.Transport):
    """One connection to supervisord's socket; a request reopens it if it was closed."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._socket = UnixConnection(home / "supervisord.sock", timeout=20)

    def make_connection(self, host: Any) -> UnixConnection:
        return self._socket

    def close(self) -> None:
        self._socket.close()


def _runs(process: psutil.Process) -> bool:
    """Returns whether a process runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
