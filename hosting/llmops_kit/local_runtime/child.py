"""Started by supervisord in place of each program: `python -I -S child.py programs/NAME.json`, then becomes it.

Imports only the standard library: supervisord's folder holds a copy, which a moved checkout doesn't break.
Adds behaviour for which supervisord has no setting: the program dies with supervisord, leftovers of a killed start are
ended, a program that keeps ending at once waits longer each time, and its environment is exactly the specification's.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MARK = "HOSTING_PROGRAM"
QUICK_SECONDS = 30.0
"""A program that ends sooner after its start counts as ended at once."""
MOST_DELAY_SECONDS = 30.0
_PR_SET_PDEATHSIG = 1
_GROUP, _START_TIME = 5, 22  # numbers of fields in /proc/<pid>/stat


def main(specification: Path) -> None:
    """Prepares this process by the specification, and executes the program in it."""
    spec = json.loads(specification.read_text())
    _die_with_supervisor(signal.Signals(spec["death_signal"]), Path("supervisord.pid"))
    started = specification.with_suffix(".starts")
    last = _read(started)
    _end_leftovers(int(last.get("pid", 0)), spec["environ"][MARK])
    for command in spec["before"]:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    quick = int(last.get("quick", 0)) + 1 if time.time() - last.get("time", 0) < QUICK_SECONDS else 0
    began = start_in(Path("/proc/self/stat").read_text())
    this = {"count": last.get("count", 0) + 1, "quick": quick, "pid": os.getpid(), "began": began}
    _write(started, time=time.time(), **this)
    if delay := backoff(quick):
        print(f"supervision: ended soon after each of its last {quick} starts; next one in {delay:g} s", flush=True)
        time.sleep(delay)
        _write(started, time=time.time(), **this)
    try:
        os.chdir(spec["cwd"])
        os.execve(spec["argv"][0], spec["argv"], spec["environ"])
    except OSError as e:
        sys.exit(f"supervision: {spec['argv'][0]} can't be started in {spec['cwd']}: {e.strerror}")


def start_in(stat: str) -> float:
    """Returns when a process started, in seconds after the machine did, from its /proc/<pid>/stat."""
    return int(_field(stat, _START_TIME)) / os.sysconf("SC_CLK_TCK")


def backoff(quick: int) -> float:
    """Returns the seconds to wait after `quick` starts in a row that ended at once; 0 below three, which may have been
    kills.
    """
    return 0.0 if quick < 3 else min(2.0 ** (quick - 3), MOST_DELAY_SECONDS)


def _die_with_supervisor(death_signal: signal.Signals, pidfile: Path) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    # supervisord may have died before prctl: then the signal never comes.
    if os.getppid() != int(pidfile.read_text()):
        sys.exit("supervision: supervisord has gone")


def _end_leftovers(group: int, mark: str) -> None:
    """Kills the processes that are left in the process group of the last start, if they carry this program's mark."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
            if int(_field(stat, _GROUP)) == group and wanted in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
        except (OSError, IndexError):
            continue  # it ended meanwhile


def _field(stat: str, number: int) -> str:
    """Returns a field after the name, which may hold spaces and parentheses itself (proc_pid_stat(5))."""
    return stat.rpartition(")")[2].split()[number - 3]


def _read(path: Path) -> dict[str, float]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _write(path: Path, **values: float) -> None:
    temporary = path.with_suffix(".starts.tmp")
    temporary.write_text(json.dumps(values))
    temporary.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
